#include "protocol/artifact_store.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cassert>
#include <cerrno>
#include <chrono>
#include <format>
#include <system_error>
#include <vector>

#include "protocol/durable_file.hpp"

namespace finch::protocol {
namespace fs = std::filesystem;
namespace {

constexpr mode_t kReadOnly = 0444;  // the name is the hash of the bytes: nobody may change them in place

std::string system_reason(int error_number) {
  return std::generic_category().message(error_number);
}

Error no_hash(std::string_view text) {
  return {std::format("\"{}\" is no SHA-256", text.substr(0, 100))};
}

// What a process left behind that was killed while it added a file.
void remove_stale_temporaries(const fs::path& folder) {
  constexpr std::chrono::hours kSurelyDead{24};
  std::error_code error;
  const auto now = fs::file_time_type::clock::now();
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (!it->path().filename().string().starts_with("tmp.")) continue;
    if (now - it->last_write_time(ignored) > kSurelyDead && !ignored) fs::remove(it->path(), ignored);
  }
}

// The partial file, locked, and really the one of that name: another process may have published or dropped it while
// this one waited for the lock.
std::expected<Descriptor, Error> open_locked(const fs::path& path) {
  for (;;) {
    Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!file || !wait_for_lock(file.get())) return std::unexpected(write_error(path.parent_path(), 0, errno));
    struct stat opened{};
    struct stat named{};
    if (::fstat(file.get(), &opened) == 0 && ::stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino) {
      return file;
    }
  }
}

}  // namespace

ArtifactStore::ArtifactStore(fs::path root) : root_(std::move(root)) {
  // A folder that cannot be made shows itself at the first write, with its name.
  if (make_folder(root_ / "partial")) remove_stale_temporaries(root_ / "partial");
}

bool ArtifactStore::has(const std::string& sha256) const {
  std::error_code ignored;
  return is_sha256(sha256) && fs::exists(path_of(sha256), ignored);
}

fs::path ArtifactStore::path_of(const std::string& sha256) const {
  assert(is_sha256(sha256));
  return root_ / sha256.substr(0, 2) / sha256;
}

// Renames a complete, verified file of ours to its final name, durably.
std::expected<void, Error> ArtifactStore::publish(const fs::path& file, const std::string& sha256) {
  const fs::path target = path_of(sha256);
  if (auto made = make_folder(target.parent_path()); !made) return made;
  if (::rename(file.c_str(), target.c_str()) != 0) {
    return std::unexpected(write_error(target.parent_path(), 0, errno));
  }
  sync_folder(target.parent_path());
  return {};
}

// The artifact came another way than by the transfer that had begun.
void ArtifactStore::drop_partial(const std::string& sha256) {
  ::unlink(partial_of(sha256).c_str());
}

std::expected<std::string, Error> ArtifactStore::add_file(const fs::path& path) {
  const auto sha256 = sha256_of_file(path);
  if (!sha256 || has(*sha256)) return sha256;
  if (auto made = make_folder(root_ / "partial"); !made) return std::unexpected(made.error());
  auto temporary = make_unique_file(root_ / "partial");
  if (!temporary) return std::unexpected(temporary.error());
  auto& [file, name] = *temporary;

  const Descriptor source(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::vector<char> buffer(std::size_t{1} << 18);
  int write_failure = 0;
  ssize_t got = source ? 0 : -1;
  while (source && write_failure == 0 &&
         ((got = ::read(source.get(), buffer.data(), buffer.size())) > 0 || (got < 0 && errno == EINTR))) {
    if (got > 0) write_failure = write_fully(file.get(), {buffer.data(), static_cast<std::size_t>(got)});
  }
  std::expected<void, Error> added;
  if (got < 0) {
    added = std::unexpected(Error{std::format("{}: cannot be read: {}", path.string(), system_reason(errno))});
  } else if (write_failure == 0 && (::fchmod(file.get(), kReadOnly) != 0 || ::fsync(file.get()) != 0)) {
    write_failure = errno;
  }
  if (write_failure != 0) {
    std::error_code ignored;
    added = std::unexpected(write_error(root_, fs::file_size(path, ignored), write_failure));
  }
  if (added) {
    // The source may have been written to since it was hashed.
    const auto copied = sha256_of_file(name);
    if (copied.value_or("") != *sha256) {
      added = std::unexpected(Error{std::format("{} changed while it was copied: add it again", path.string())});
    }
  }
  if (added) added = publish(name, *sha256);
  if (added) drop_partial(*sha256);
  if (!added) {
    ::unlink(name.c_str());
    return std::unexpected(added.error());
  }
  return sha256;
}

std::expected<std::string, Error> ArtifactStore::add_bytes(std::string_view bytes) {
  std::string sha256 = sha256_hex(bytes);
  if (has(sha256)) return sha256;
  const fs::path target = path_of(sha256);
  return make_folder(target.parent_path())
      .and_then([&] { return write_durably(target, bytes, kReadOnly); })
      .transform([&] {
        drop_partial(sha256);
        return sha256;
      });
}

std::int64_t ArtifactStore::partial_bytes(const std::string& sha256) const {
  std::error_code error;
  if (!is_sha256(sha256)) return 0;
  const auto size = fs::file_size(partial_of(sha256), error);
  return error ? 0 : static_cast<std::int64_t>(size);
}

std::expected<void, Error> ArtifactStore::append(const std::string& sha256, std::int64_t offset,
                                                 std::string_view data) {
  if (!is_sha256(sha256)) return std::unexpected(no_hash(sha256));
  if (auto made = make_folder(root_ / "partial"); !made) return made;
  const auto file = open_locked(partial_of(sha256));
  if (!file) return std::unexpected(file.error());
  const off_t size = ::lseek(file->get(), 0, SEEK_END);
  if (size != offset) {
    return std::unexpected(Error{std::format("artifact {}: bytes came for offset {}, they are wanted from {} on",
                                             sha256.substr(0, 12), offset, size)});
  }
  if (const int failure = write_fully(file->get(), data)) {
    // Half a chunk would be kept as if it had come; the transfer goes on at the last whole one.
    if (::ftruncate(file->get(), size) != 0) drop_partial(sha256);
    return std::unexpected(write_error(root_, data.size(), failure));
  }
  return {};
}

std::expected<void, Error> ArtifactStore::commit(const std::string& sha256) {
  if (!is_sha256(sha256)) return std::unexpected(no_hash(sha256));
  if (has(sha256)) {
    drop_partial(sha256);
    return {};
  }
  if (auto made = make_folder(root_ / "partial"); !made) return made;
  // Made if need be: an artifact of no bytes at all has no partial file.
  const auto file = open_locked(partial_of(sha256));
  if (!file) return std::unexpected(file.error());
  const auto found = sha256_of_file(partial_of(sha256));
  if (!found) return std::unexpected(found.error());
  if (*found != sha256) {
    drop_partial(sha256);
    if (has(sha256)) return {};  // published by another process since we looked
    return std::unexpected(Error{std::format("artifact {}: what came hashes to {} and was thrown away: send it again",
                                             sha256.substr(0, 12), found->substr(0, 12))});
  }
  if (::fchmod(file->get(), kReadOnly) != 0 || ::fsync(file->get()) != 0) {
    return std::unexpected(write_error(root_, 0, errno));
  }
  return publish(partial_of(sha256), sha256);
}

}  // namespace finch::protocol
