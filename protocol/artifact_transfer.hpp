// Both directions of moving artifacts over a connection, the same at both ends: the side that lacks bytes asks for
// them chunk by chunk from the offset it has, so a broken transfer goes on where it stopped. Thread safe like the
// store.
#pragma once

#include <expected>
#include <optional>

#include "protocol/artifact_store.hpp"

namespace finch::protocol {

class ArtifactChunk;
class ArtifactWanted;

// The chunk that `wanted` asks for, of kChunkBytes or less; nothing when the store has no such artifact or offset.
std::optional<ArtifactChunk> read_chunk(const ArtifactStore& store, const ArtifactWanted& wanted);

enum class ChunkOutcome {
  more,      // ask again, from partial_bytes() on
  complete,  // the store has the artifact
};
// Takes a received chunk in. A chunk that is here already (another process fetches the same artifact) does no harm.
// Error: the bytes do not fit or do not hash to the name, the disk is full.
std::expected<ChunkOutcome, Error> take_chunk(ArtifactStore& store, const ArtifactChunk& chunk);

}  // namespace finch::protocol
