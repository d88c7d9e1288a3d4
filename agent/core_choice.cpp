#include "agent/core_choice.hpp"

#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <format>
#include <string>
#include <utility>

namespace finch::agent {

std::vector<int> allowed_cores() {
  std::vector<int> cores;
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cores;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

std::vector<int> choose_cores(const SystemFiles& files, std::vector<int> allowed, int count) {
  const auto speed = [&files](int core) {
    const std::string folder = std::format("/sys/devices/system/cpu/cpu{}", core);
    if (const auto capacity = files.read_number(folder + "/cpu_capacity")) return *capacity;
    return files.read_number(folder + "/cpufreq/cpuinfo_max_freq").value_or(0);
  };
  std::vector<std::pair<std::int64_t, int>> ranked;
  ranked.reserve(allowed.size());
  for (const int core : allowed) ranked.emplace_back(speed(core), core);
  std::ranges::sort(ranked, std::greater{});
  if (static_cast<std::size_t>(std::max(count, 1)) < ranked.size()) {
    ranked.resize(static_cast<std::size_t>(std::max(count, 1)));
  }
  std::vector<int> cores;
  for (const auto& [core_speed, core] : ranked) cores.push_back(core);
  std::ranges::sort(cores);
  return cores;
}

std::expected<void, Error> pin_to_cores(const std::vector<int>& cores) {
  if (cores.empty()) return {};
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int core : cores) CPU_SET(core, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) {
    return std::unexpected(Error{std::format("cannot pin to the measuring cores: {}", std::strerror(errno))});
  }
  return {};
}

}  // namespace finch::agent
