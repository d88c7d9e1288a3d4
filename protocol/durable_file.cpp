#include "protocol/durable_file.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <format>
#include <system_error>
#include <thread>

namespace finch::protocol {
namespace fs = std::filesystem;
namespace {

std::string reason(int error_number) {
  return std::generic_category().message(error_number);
}

std::expected<Descriptor, Error> open_lock(const fs::path& path) {
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file) return std::unexpected(Error{std::format("{}: cannot be opened: {}", path.string(), reason(errno))});
  return file;
}

}  // namespace

void Descriptor::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Error write_error(const fs::path& folder, std::uint64_t needed_bytes, int error_number) {
  if (error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG) {
    std::error_code ignored;
    const fs::space_info space = fs::space(folder, ignored);
    const std::string free = ignored ? std::string() : std::format(" ({} are free on the disk)", space.available);
    return {std::format("no space for {} more bytes in {}{}: make room there and try again", needed_bytes,
                        folder.string(), free)};
  }
  return {std::format("{}: cannot be written: {}", folder.string(), reason(error_number))};
}

int write_fully(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return 0;
}

void sync_folder(const fs::path& folder) {
  const Descriptor descriptor(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor) ::fsync(descriptor.get());
}

std::expected<void, Error> make_folder(const fs::path& folder, mode_t mode) {
  if (::mkdir(folder.c_str(), mode) == 0) return {};
  if (errno == ENOENT && folder.has_parent_path() && folder.parent_path() != folder) {
    if (auto parent = make_folder(folder.parent_path(), mode); !parent) return parent;
    if (::mkdir(folder.c_str(), mode) == 0) return {};
  }
  const int error_number = errno;
  std::error_code ignored;
  if (fs::is_directory(folder, ignored)) return {};
  return std::unexpected(Error{std::format("the folder {} cannot be made: {}", folder.string(), reason(error_number))});
}

std::expected<std::pair<Descriptor, fs::path>, Error> make_unique_file(const fs::path& folder) {
  std::string name = (folder / "tmp.XXXXXX").string();
  Descriptor file(::mkostemp(name.data(), O_CLOEXEC));
  if (!file) return std::unexpected(write_error(folder, 0, errno));
  return std::pair(std::move(file), fs::path(name));
}

std::expected<void, Error> write_durably(const fs::path& path, std::string_view bytes, mode_t mode) {
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  auto temporary = make_unique_file(folder);
  if (!temporary) return std::unexpected(temporary.error());
  auto& [file, name] = *temporary;
  int error_number = write_fully(file.get(), bytes);
  if (error_number == 0 &&
      (::fchmod(file.get(), mode) != 0 || ::fsync(file.get()) != 0 || ::rename(name.c_str(), path.c_str()) != 0)) {
    error_number = errno;
  }
  if (error_number != 0) {
    ::unlink(name.c_str());
    return std::unexpected(write_error(folder, bytes.size(), error_number));
  }
  sync_folder(folder);
  return {};
}

std::expected<std::string, Error> read_whole_file(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  std::string bytes;
  char buffer[16384];
  ssize_t got = file ? 0 : -1;
  while (file && ((got = ::read(file.get(), buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR))) {
    if (got > 0) bytes.append(buffer, static_cast<std::size_t>(got));
  }
  if (got < 0) return std::unexpected(Error{std::format("{}: cannot be read: {}", path.string(), reason(errno))});
  return bytes;
}

bool wait_for_lock(int fd) {
  while (::flock(fd, LOCK_EX) != 0) {
    if (errno != EINTR) return false;
  }
  return true;
}

std::expected<FileLock, Error> FileLock::wait_for(const fs::path& path) {
  auto file = open_lock(path);
  if (!file) return std::unexpected(file.error());
  if (!wait_for_lock(file->get())) {
    return std::unexpected(Error{std::format("{}: cannot be locked: {}", path.string(), reason(errno))});
  }
  return FileLock(std::move(*file));
}

std::expected<std::optional<FileLock>, Error> FileLock::try_for(const fs::path& path,
                                                                std::chrono::milliseconds patience,
                                                                const std::stop_token& stop) {
  auto file = open_lock(path);
  if (!file) return std::unexpected(file.error());
  const auto give_up = std::chrono::steady_clock::now() + patience;
  while (::flock(file->get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      return std::unexpected(Error{std::format("{}: cannot be locked: {}", path.string(), reason(errno))});
    }
    if (stop.stop_requested() || std::chrono::steady_clock::now() > give_up) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return FileLock(std::move(*file));
}

}  // namespace finch::protocol
