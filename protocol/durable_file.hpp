// Small files that survive a crash at any moment: they appear whole, by rename, after they reached the disk. Also the
// lock by which processes take turns. Free functions are thread safe; a FileLock is owned by one thread at a time.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/error.hpp"

namespace finch::protocol {

// A file descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() { reset(); }
  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void reset();

 private:
  int fd_ = -1;
};

// "FOLDER is full: N bytes were needed, M are free" and the like, for errno after a failed write below `folder`.
Error write_error(const std::filesystem::path& folder, std::uint64_t needed_bytes, int error_number);

// Whole file or nothing, also across a power cut. Errors: not writable, disk full.
std::expected<void, Error> write_durably(const std::filesystem::path& path, std::string_view bytes, mode_t mode);
std::expected<std::string, Error> read_whole_file(const std::filesystem::path& path);
// A new file of a name nobody else has, mode 0600, in `folder`.
std::expected<std::pair<Descriptor, std::filesystem::path>, Error> make_unique_file(
    const std::filesystem::path& folder);
// All bytes or errno.
int write_fully(int fd, std::string_view bytes);
// Makes renames inside the folder durable.
void sync_folder(const std::filesystem::path& folder);
// `mode` holds for folders that are made. Error: names the folder and why.
std::expected<void, Error> make_folder(const std::filesystem::path& folder, mode_t mode = 0700);

// An exclusive flock, released when the descriptor is closed. False: errno says why.
bool wait_for_lock(int fd);

// An flock on a file that stays. Released by destruction and by the end of the process.
class FileLock {
 public:
  static std::expected<FileLock, Error> wait_for(const std::filesystem::path& path);
  // Nothing when another process (or FileLock) still holds it after `patience`, or when stop was requested meanwhile.
  static std::expected<std::optional<FileLock>, Error> try_for(const std::filesystem::path& path,
                                                               std::chrono::milliseconds patience,
                                                               const std::stop_token& stop);

 private:
  explicit FileLock(Descriptor file) : file_(std::move(file)) {}
  Descriptor file_;
};

}  // namespace finch::protocol
