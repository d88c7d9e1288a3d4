// Which cores a measurement runs on. Free functions; thread safe (pin_to_cores acts on the calling thread).
#pragma once

#include <expected>
#include <vector>

#include "agent/error.hpp"
#include "agent/system_files.hpp"

namespace finch::agent {

// Those that this process may use, ascending.
std::vector<int> allowed_cores();

// `count` of `allowed`: the fastest (cpu_capacity, else cpuinfo_max_freq), and among equals those with the highest
// numbers, because core 0 takes most interrupts. All of them when there are not more.
std::vector<int> choose_cores(const SystemFiles& files, std::vector<int> allowed, int count);

// The calling thread and all threads it makes from now on.
std::expected<void, Error> pin_to_cores(const std::vector<int>& cores);

}  // namespace finch::agent
