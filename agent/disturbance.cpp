#include "agent/disturbance.hpp"

#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <format>

namespace finch::agent {
namespace {

constexpr std::int64_t kPage = 4096;
constexpr int kLongestFill = 120'000;  // ms

// All that follows runs between fork and _exit: only calls that are safe there.

void say_ready(int ready) {
  const char byte = 1;
  (void)!write(ready, &byte, 1);
}

void burn(int core, std::int64_t, int ready) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(static_cast<std::size_t>(core), &cores);
  (void)sched_setaffinity(0, sizeof cores, &cores);
  say_ready(ready);
  for (volatile std::uint64_t turns = 0;; turns = turns + 1) {
  }
}

void walk(int, std::int64_t bytes, int ready) {
  void* const memory = mmap(nullptr, static_cast<std::size_t>(bytes), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;
  auto* const words = static_cast<volatile std::uint64_t*>(memory);
  const std::int64_t count = bytes / static_cast<std::int64_t>(sizeof(std::uint64_t));
  std::uint64_t state = 0x9E3779B97F4A7C15U;
  for (std::int64_t i = 0; i < count; ++i) {  // xorshift64 (Marsaglia 2003): pages that swap cannot shrink
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    words[i] = state;
  }
  say_ready(ready);
  constexpr std::int64_t kStep = kPage / static_cast<std::int64_t>(sizeof(std::uint64_t));
  for (;;) {
    for (std::int64_t i = 0; i < count; i += kStep) words[i] = words[i] + 1;
  }
}

}  // namespace

std::expected<void, Error> Disturbance::add(void (*work)(int value, std::int64_t bytes, int ready), int value,
                                            std::int64_t bytes) {
  auto ready = make_pipe();
  if (!ready) return std::unexpected(ready.error());
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0)
    return std::unexpected(Error{std::format("cannot start a process that disturbs: {}", std::strerror(errno)), true});
  if (pid == 0) {
    begin_child(parent);
    be_the_first_to_go();
    work(value, bytes, ready->write.get());
    _exit(1);
  }
  processes_.push_back(std::make_unique<ChildProcess>(pid));
  ready->write.reset();
  pollfd wanted{.fd = ready->read.get(), .events = POLLIN, .revents = 0};
  char byte = 0;
  if (poll(&wanted, 1, kLongestFill) != 1 || read(ready->read.get(), &byte, 1) != 1) {
    return std::unexpected(Error{bytes > 0 ? std::format("{} MiB to walk through cannot be had", bytes >> 20U)
                                           : "a process that disturbs did not start",
                                 true});
  }
  return {};
}

std::expected<Disturbance, Error> Disturbance::busy_cores(const std::vector<int>& cores) {
  Disturbance disturbance;
  for (const int core : cores) {
    if (auto added = disturbance.add(burn, core, 0); !added) return std::unexpected(added.error());
  }
  return disturbance;
}

std::expected<Disturbance, Error> Disturbance::memory_walk(std::int64_t bytes) {
  Disturbance disturbance;
  if (auto added = disturbance.add(walk, 0, bytes); !added) return std::unexpected(added.error());
  return disturbance;
}

}  // namespace finch::agent
