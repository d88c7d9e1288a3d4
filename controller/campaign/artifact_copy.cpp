#include "controller/campaign/artifact_copy.hpp"

#include <format>

#include "protocol/artifact_store.hpp"

namespace finch::controller {

std::expected<void, Error> copy_artifact(const std::filesystem::path& artifacts, const std::string& sha256,
                                         const std::filesystem::path& to) {
  std::error_code error;
  const auto from = protocol::ArtifactStore(artifacts).path_of(sha256);
  if (!std::filesystem::exists(from, error)) {
    return std::unexpected(
        Error{std::format("{}: the file behind a recorded result was removed; put it back, or run it anew with another "
                          "seed",
                          from.string())});
  }
  std::filesystem::path temporary = to;
  temporary += ".tmp";
  std::filesystem::copy_file(from, temporary, std::filesystem::copy_options::overwrite_existing, error);
  if (!error) std::filesystem::rename(temporary, to, error);
  if (error) return std::unexpected(Error{std::format("{}: cannot write: {}", to.string(), error.message())});
  return {};
}

}  // namespace finch::controller
