// Who serves a home: a lock that the kernel lets go of when the process dies, and serve.json beside it, which says
// where. A campaign serves its home while nobody else does, and makes room for a `finch serve`, which claims it. Not
// thread safe; several processes may try at once.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>

#include "controller/error.hpp"
#include "controller/farm/home.hpp"
#include "protocol/durable_file.hpp"

namespace finch::controller {

class ServeLock {
 public:
  // Error: another process serves this home (names it), or the home cannot be written.
  static std::expected<ServeLock, Error> acquire(const Home& home);
  ServeLock(ServeLock&&) noexcept = default;
  ServeLock& operator=(ServeLock&&) = delete;
  ~ServeLock();

  // Lets others find the server.
  std::expected<void, Error> announce(std::uint16_t port) const;

 private:
  ServeLock(protocol::Descriptor file, Home home) : file_(std::move(file)), home_(std::move(home)) {}

  protocol::Descriptor file_;
  Home home_;
};

// The claim of a `finch serve` on a home, for as long as it lives.
class ServeClaim {
 public:
  // Nothing: another `finch serve` has it.
  static std::optional<ServeClaim> make(const Home& home);

 private:
  explicit ServeClaim(protocol::Descriptor file) : file_(std::move(file)) {}
  protocol::Descriptor file_;
};
bool is_claimed(const Home& home);

}  // namespace finch::controller
