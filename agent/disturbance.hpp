// What a device does beside the model in a stability measurement: processors busy, memory taken and walked through.
// A value that owns its processes; not thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <vector>

#include "agent/child_process.hpp"
#include "agent/error.hpp"

namespace finch::agent {

// The processes end with this, and with the agent. When memory runs out, the kernel ends them before anything else.
class Disturbance {
 public:
  // One busy process for each of `cores`, bound to it. Errors: a process cannot be started (retryable).
  static std::expected<Disturbance, Error> busy_cores(const std::vector<int>& cores);
  // One process that fills `bytes` with what does not compress and then walks through it, a cache line a page, again
  // and again; ready when they are filled once. Errors: as above; the memory is not there.
  static std::expected<Disturbance, Error> memory_walk(std::int64_t bytes);

 private:
  std::expected<void, Error> add(void (*work)(int value, std::int64_t bytes, int ready), int value, std::int64_t bytes);
  std::vector<std::unique_ptr<ChildProcess>> processes_;
};

}  // namespace finch::agent
