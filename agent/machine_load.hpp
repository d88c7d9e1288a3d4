// How much of the machine others used between two moments: CPU time from /proc/stat, stalls from /proc/pressure.
// Values and free functions; thread safe.
#pragma once

#include <chrono>
#include <optional>

#include "agent/launch.pb.h"
#include "agent/system_files.hpp"

namespace finch::agent {

struct LoadSnapshot {
  std::chrono::nanoseconds at{};
  double own_cpu_seconds = 0;               // of the calling process, all threads
  std::optional<double> busy_cpu_seconds;   // of all cores, with interrupts and stolen time
  std::optional<double> total_cpu_seconds;  // busy and idle
  std::optional<double> cpu_stall_seconds;  // some task was runnable and waited
  std::optional<double> memory_stall_seconds;
  std::optional<double> io_stall_seconds;
};

LoadSnapshot read_load(const SystemFiles& files);

// REQUIRES: before.at < after.at. What the machine does not tell is absent.
MachineLoad load_between(const LoadSnapshot& before, const LoadSnapshot& after);

}  // namespace finch::agent
