// Files by SHA-256 in one folder: what two ends of the wire exchange and what is kept for reuse. Several processes may
// use one folder at once: files appear by rename, complete and verified. Thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "protocol/error.hpp"

namespace finch::protocol {

std::string sha256_hex(std::span<const std::byte> bytes);
std::string sha256_hex(std::string_view bytes);
bool is_sha256(std::string_view text);  // 64 lower-case hex digits: look before using what a peer sent
std::expected<std::string, Error> sha256_of_file(const std::filesystem::path& path);

class ArtifactStore {
 public:
  explicit ArtifactStore(std::filesystem::path root);

  bool has(const std::string& sha256) const;  // false for what is no hash
  // root/ab/abcdef..., which exists only if has(). REQUIRES: is_sha256(sha256).
  std::filesystem::path path_of(const std::string& sha256) const;
  // Copies the file in; its name is its hash. Errors: not readable, disk full (names folder and need).
  std::expected<std::string, Error> add_file(const std::filesystem::path& path);
  std::expected<std::string, Error> add_bytes(std::string_view bytes);

  // A transfer that may be broken off and go on later: bytes already here of an incomplete file.
  std::int64_t partial_bytes(const std::string& sha256) const;
  // Appends at `offset`. Errors: no hash, offset is not partial_bytes() (another process may have gone on), disk full.
  std::expected<void, Error> append(const std::string& sha256, std::int64_t offset, std::string_view data);
  // Verifies the hash and makes the file visible; nothing to do if it is. A wrong hash deletes the partial file.
  std::expected<void, Error> commit(const std::string& sha256);

 private:
  std::filesystem::path partial_of(const std::string& sha256) const { return root_ / "partial" / sha256; }
  void drop_partial(const std::string& sha256);
  std::expected<void, Error> publish(const std::filesystem::path& file, const std::string& sha256);

  std::filesystem::path root_;
};

}  // namespace finch::protocol
