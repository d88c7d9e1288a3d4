#include "protocol/artifact_transfer.hpp"

#include <format>
#include <fstream>

#include "protocol/farm.pb.h"
#include "protocol/framing.hpp"

namespace finch::protocol {

std::optional<ArtifactChunk> read_chunk(const ArtifactStore& store, const ArtifactWanted& wanted) {
  if (!store.has(wanted.sha256())) return std::nullopt;
  std::ifstream file(store.path_of(wanted.sha256()), std::ios::binary | std::ios::ate);
  const auto total = static_cast<std::int64_t>(file.tellg());
  if (!file || wanted.offset() < 0 || wanted.offset() > total) return std::nullopt;
  file.seekg(wanted.offset());
  std::string data(kChunkBytes, '\0');
  file.read(data.data(), static_cast<std::streamsize>(data.size()));
  if (file.bad()) return std::nullopt;
  data.resize(static_cast<std::size_t>(file.gcount()));
  ArtifactChunk chunk;
  chunk.set_sha256(wanted.sha256());
  chunk.set_offset(wanted.offset());
  chunk.set_total_bytes(total);
  chunk.set_data(std::move(data));
  return chunk;
}

std::expected<ChunkOutcome, Error> take_chunk(ArtifactStore& store, const ArtifactChunk& chunk) {
  const std::string& sha256 = chunk.sha256();
  const auto complete = [] { return ChunkOutcome::complete; };
  if (store.has(sha256)) return ChunkOutcome::complete;
  const auto appended = store.append(sha256, chunk.offset(), chunk.data());
  // Another process may have been quicker; commit() then clears away what was appended in vain.
  if (store.has(sha256)) return store.commit(sha256).transform(complete);
  if (!appended) {
    if (chunk.offset() < store.partial_bytes(sha256)) return ChunkOutcome::more;
    return std::unexpected(appended.error());
  }
  const std::int64_t here = store.partial_bytes(sha256);
  if (here < chunk.total_bytes()) {
    if (!chunk.data().empty()) return ChunkOutcome::more;
    return std::unexpected(Error{std::format("artifact {}: an empty chunk came at {} of {} bytes", sha256.substr(0, 12),
                                             here, chunk.total_bytes())});
  }
  return store.commit(sha256).transform(complete);
}

}  // namespace finch::protocol
