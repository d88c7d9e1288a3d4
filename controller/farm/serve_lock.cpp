#include "controller/farm/serve_lock.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <format>
#include <optional>
#include <thread>

#include "controller/farm/farm.hpp"

namespace finch::controller {
namespace {

// Locks of the open file, not of the process: they can be looked at without being taken, so looking disturbs nobody.
struct flock whole_file() {
  struct flock lock{};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

protocol::Descriptor open_lock(const std::filesystem::path& path) {
  return protocol::Descriptor(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
}

bool take(const protocol::Descriptor& file) {
  struct flock lock = whole_file();
  return file && ::fcntl(file.get(), F_OFD_SETLK, &lock) == 0;
}

bool is_taken(const std::filesystem::path& path) {
  const protocol::Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  struct flock lock = whole_file();
  return file && ::fcntl(file.get(), F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

struct Server {
  int pid = 0;
  std::uint16_t port = 0;
};

std::optional<Server> announced(const Home& home) {
  const auto text = protocol::read_whole_file(home.serve_file());
  int pid = 0, port = 0;
  if (!text || std::sscanf(text->c_str(), "{\"pid\": %d, \"port\": %d}", &pid, &port) != 2) return std::nullopt;
  return Server{pid, static_cast<std::uint16_t>(port)};
}

}  // namespace

std::expected<ServeLock, Error> ServeLock::acquire(const Home& home) {
  protocol::Descriptor file = open_lock(home.serve_lock());
  if (take(file)) {
    std::error_code ignored;
    std::filesystem::remove(home.serve_file(), ignored);  // of a server that was killed
    return ServeLock(std::move(file), home);
  }
  if (!file || (errno != EAGAIN && errno != EACCES)) {
    return std::unexpected(
        Error{std::format("{}: {}; check the permissions of the Finch home, or set FINCH_HOME to "
                          "another folder",
                          home.serve_lock().string(), std::strerror(errno))});
  }
  const auto server = announced(home);
  return std::unexpected(Error{std::format(
      "the farm of {} is served already{}; use that one (finch run does so by itself), end it first, or set FINCH_HOME "
      "to another folder",
      home.root.string(), server ? std::format(" by process {} on port {}", server->pid, server->port) : "")});
}

ServeLock::~ServeLock() {
  if (!file_) return;
  std::error_code ignored;
  std::filesystem::remove(home_.serve_file(), ignored);
}

std::expected<void, Error> ServeLock::announce(std::uint16_t port) const {
  const auto text = std::format("{{\"pid\": {}, \"port\": {}}}\n", ::getpid(), port);
  if (auto written = protocol::write_durably(home_.serve_file(), text, 0600); !written) {
    return std::unexpected(Error{written.error().message});
  }
  return {};
}

std::optional<ServeClaim> ServeClaim::make(const Home& home) {
  protocol::Descriptor file = open_lock(home.serve_claim());
  if (!take(file)) return std::nullopt;
  return ServeClaim(std::move(file));
}

bool is_claimed(const Home& home) {
  return is_taken(home.serve_claim());
}

std::expected<std::uint16_t, Error> running_farm(const Home& home) {
  const Error nobody{std::format("no farm is served from {}; start one with: finch serve", home.root.string())};
  // A server that is just starting has the lock, but no port yet.
  for (int i = 0; i < 100; ++i) {
    if (!is_taken(home.serve_lock())) return std::unexpected(nobody);
    if (const auto server = announced(home)) return server->port;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return std::unexpected(
      Error{std::format("the farm of {} is locked by a finch that does not get ready; end that process (see: fuser {})",
                        home.root.string(), home.serve_lock().string())});
}

}  // namespace finch::controller
