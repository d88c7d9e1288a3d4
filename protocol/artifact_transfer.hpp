// Both directions of moving artifacts over a connection, the same at both ends: the side that lacks bytes asks for
// them chunk by chunk from the offset it has, so a broken transfer goes on where it stopped. Not thread safe.
#pragma once

#include <expected>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "protocol/artifact_store.hpp"

namespace finch::protocol {

class ArtifactChunk;
class ArtifactWanted;

// The chunk that `wanted` asks for; nothing when the store has no such artifact.
std::optional<ArtifactChunk> read_chunk(const ArtifactStore& store, const ArtifactWanted& wanted);

enum class ChunkOutcome { more, complete };
// Takes a received chunk in. Error: the bytes do not fit or do not hash to the name.
std::expected<ChunkOutcome, Error> take_chunk(ArtifactStore& store, const ArtifactChunk& chunk);

}  // namespace finch::protocol
