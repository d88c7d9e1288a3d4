#include "protocol/artifact_store.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <format>
#include <fstream>
#include <memory>

namespace finch::protocol {
namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), &EVP_MD_CTX_free) { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  void update(const void* data, std::size_t size) { EVP_DigestUpdate(context_.get(), data, size); }
  std::string hex() {
    std::array<unsigned char, 32> digest{};
    EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
    std::string text;
    for (const unsigned char byte : digest) text += std::format("{:02x}", byte);
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

Error system_error(const char* what, const std::filesystem::path& path) {
  const int error = errno;
  return Error{std::format("{}: cannot {}: {}{}", path.string(), what, std::strerror(error),
                           error == ENOSPC ? "; free some space on this disk" : "")};
}

std::expected<void, Error> write_all(int file, std::string_view data, const std::filesystem::path& path) {
  while (!data.empty()) {
    const ssize_t written = ::write(file, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return std::unexpected(system_error("write", path));
    data.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

std::filesystem::path partial_of(const std::filesystem::path& root, const std::string& sha256) {
  return root / "partial" / sha256;
}

}  // namespace

std::string sha256_hex(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.update(bytes.data(), bytes.size());
  return hash.hex();
}

std::string sha256_hex(std::string_view bytes) {
  return sha256_hex(std::as_bytes(std::span(bytes)));
}

std::expected<std::string, Error> sha256_of_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::unexpected(system_error("read", path));
  Sha256 hash;
  std::array<char, 1 << 16> buffer{};
  while (file.read(buffer.data(), buffer.size()) || file.gcount() > 0) {
    hash.update(buffer.data(), static_cast<std::size_t>(file.gcount()));
  }
  if (file.bad()) return std::unexpected(system_error("read", path));
  return hash.hex();
}

ArtifactStore::ArtifactStore(std::filesystem::path root) : root_(std::move(root)) {
  std::error_code ignored;  // an unwritable folder shows itself at the first write, with its name
  std::filesystem::create_directories(root_ / "partial", ignored);
}

bool ArtifactStore::has(const std::string& sha256) const {
  return sha256.size() == 64 && std::filesystem::exists(path_of(sha256));
}

std::filesystem::path ArtifactStore::path_of(const std::string& sha256) const {
  return root_ / sha256.substr(0, 2) / sha256;
}

std::expected<std::string, Error> ArtifactStore::add_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::unexpected(system_error("read", path));
  std::string bytes{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) return std::unexpected(system_error("read", path));
  return add_bytes(bytes);
}

std::expected<std::string, Error> ArtifactStore::add_bytes(std::string_view bytes) {
  const std::string sha256 = sha256_hex(bytes);
  if (has(sha256)) return sha256;
  static std::atomic<unsigned> counter{0};
  const std::filesystem::path temporary = root_ / "partial" / std::format("{}.{}.{}", sha256, ::getpid(), counter++);
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (file < 0) return std::unexpected(system_error("write", temporary));
  auto written = write_all(file, bytes, temporary);
  if (written && ::fsync(file) != 0) written = std::unexpected(system_error("write", temporary));
  ::close(file);
  std::error_code error;
  if (written) {
    std::filesystem::create_directories(path_of(sha256).parent_path(), error);
    std::filesystem::rename(temporary, path_of(sha256), error);
    if (error) written = std::unexpected(Error{path_of(sha256).string() + ": cannot write: " + error.message()});
  }
  if (!written) {
    std::filesystem::remove(temporary, error);
    return std::unexpected(written.error());
  }
  return sha256;
}

std::int64_t ArtifactStore::partial_bytes(const std::string& sha256) const {
  std::error_code error;
  const auto size = std::filesystem::file_size(partial_of(root_, sha256), error);
  return error ? 0 : static_cast<std::int64_t>(size);
}

std::expected<void, Error> ArtifactStore::append(const std::string& sha256, std::int64_t offset,
                                                 std::string_view data) {
  if (sha256.size() != 64 || sha256.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return std::unexpected(Error{"'" + sha256 + "' is no SHA-256"});
  }
  if (offset != partial_bytes(sha256)) {
    return std::unexpected(Error{std::format("artifact {}: got bytes at {}, expected them at {}", sha256.substr(0, 12),
                                             offset, partial_bytes(sha256))});
  }
  const auto path = partial_of(root_, sha256);
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) return std::unexpected(system_error("write", path));
  const auto written = write_all(file, data, path);
  ::close(file);
  return written;
}

std::expected<void, Error> ArtifactStore::commit(const std::string& sha256) {
  const auto path = partial_of(root_, sha256);
  if (!std::filesystem::exists(path) && has(sha256)) return {};  // another process was quicker
  // An artifact of no bytes has no partial file yet.
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (file < 0) return std::unexpected(system_error("write", path));
  const bool synced = ::fsync(file) == 0;
  ::close(file);
  if (!synced) return std::unexpected(system_error("write", path));
  const auto found = sha256_of_file(path);
  if (!found) return std::unexpected(found.error());
  std::error_code error;
  if (*found != sha256) {
    std::filesystem::remove(path, error);
    return std::unexpected(Error{std::format("artifact {}: the bytes received hash to {}; they are dropped",
                                             sha256.substr(0, 12), found->substr(0, 12))});
  }
  std::filesystem::create_directories(path_of(sha256).parent_path(), error);
  std::filesystem::rename(path, path_of(sha256), error);
  if (error) return std::unexpected(Error{path_of(sha256).string() + ": cannot write: " + error.message()});
  return {};
}

}  // namespace finch::protocol
