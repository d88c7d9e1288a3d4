// Serves the farm: listens for workers, leases jobs from the FarmStore to them, keeps measuring hosts quiet, and
// starts the local agent and trainer when there is work for them. Runs on threads of its own.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <string>

#include "controller/error.hpp"
#include "controller/farm/home.hpp"

namespace finch::controller {

struct FarmOptions {
  std::string bind_address = "127.0.0.1";       // "0.0.0.0" for `finch serve`
  std::uint16_t port = 0;                       // 0: any free one
  bool local_workers = true;                    // start finch-agent and finch-trainer here when jobs want them
  std::string local_profile = "local";          // given to the local agent
  std::function<void(const std::string&)> log;  // one line a call, from any thread
};

class Farm {
 public:
  // Errors: port occupied (names it and the remedy), home in use by another server (exit code `failed`).
  static std::expected<std::unique_ptr<Farm>, Error> start(const Home& home, FarmOptions options);
  virtual ~Farm() = default;  // stops: cancels nothing, leases stay for workers that come back

  virtual std::uint16_t port() const = 0;
};

// Whether some process serves this home now: its port.
std::expected<std::uint16_t, Error> running_farm(const Home& home);

}  // namespace finch::controller
