#include "protocol/artifact_transfer.hpp"

#include <fstream>

#include "protocol/farm.pb.h"
#include "protocol/tls_connection.hpp"

namespace finch::protocol {

std::optional<ArtifactChunk> read_chunk(const ArtifactStore& store, const ArtifactWanted& wanted) {
  if (!store.has(wanted.sha256())) return std::nullopt;
  std::ifstream file(store.path_of(wanted.sha256()), std::ios::binary | std::ios::ate);
  const auto total = static_cast<std::int64_t>(file.tellg());
  if (!file || wanted.offset() < 0 || wanted.offset() > total) return std::nullopt;
  file.seekg(wanted.offset());
  std::string data(kChunkBytes, '\0');
  file.read(data.data(), static_cast<std::streamsize>(data.size()));
  data.resize(static_cast<std::size_t>(file.gcount()));
  ArtifactChunk chunk;
  chunk.set_sha256(wanted.sha256());
  chunk.set_offset(wanted.offset());
  chunk.set_total_bytes(total);
  chunk.set_data(std::move(data));
  return chunk;
}

std::expected<ChunkOutcome, Error> take_chunk(ArtifactStore& store, const ArtifactChunk& chunk) {
  if (store.has(chunk.sha256())) return ChunkOutcome::complete;
  if (auto appended = store.append(chunk.sha256(), chunk.offset(), chunk.data()); !appended) {
    return std::unexpected(appended.error());
  }
  if (store.partial_bytes(chunk.sha256()) < chunk.total_bytes()) return ChunkOutcome::more;
  return store.commit(chunk.sha256()).transform([] { return ChunkOutcome::complete; });
}

}  // namespace finch::protocol
