#include "agent/machine_load.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <string>
#include <string_view>
#include <vector>

#include "agent/launch.pb.h"

namespace finch::agent {
namespace {

double seconds_of(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

// The "some" line's total, microseconds: some avg10=0.00 avg60=0.00 avg300=0.00 total=31580124
std::optional<double> read_stall(const SystemFiles& files, std::string_view path) {
  const auto text = files.read(path);
  if (!text || !text->starts_with("some ")) return std::nullopt;
  const std::string_view line = std::string_view(*text).substr(0, text->find('\n'));
  const std::size_t at = line.find("total=");
  if (at == std::string_view::npos) return std::nullopt;
  const auto microseconds = parse_number(line.substr(at + 6));
  if (!microseconds) return std::nullopt;
  return static_cast<double>(*microseconds) * 1e-6;
}

void read_cpu_times(const SystemFiles& files, LoadSnapshot& snapshot) {
  const auto text = files.read("/proc/stat");
  if (!text || !text->starts_with("cpu ")) return;
  // cpu user nice system idle iowait irq softirq steal guest guest_nice; guest times are part of user and nice.
  std::vector<double> ticks;
  const char* at = text->data() + 4;
  const char* const end = text->data() + std::min(text->find('\n'), text->size());
  while (at < end && ticks.size() < 8) {
    while (at < end && *at == ' ') ++at;
    double value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc()) break;
    ticks.push_back(value);
    at = next;
  }
  if (ticks.size() < 5) return;
  const auto hertz = static_cast<double>(sysconf(_SC_CLK_TCK));
  double total = 0;
  for (const double value : ticks) total += value;
  snapshot.total_cpu_seconds = total / hertz;
  snapshot.busy_cpu_seconds = (total - ticks[3] - ticks[4]) / hertz;
}

}  // namespace

LoadSnapshot read_load(const SystemFiles& files) {
  LoadSnapshot snapshot;
  snapshot.at = std::chrono::steady_clock::now().time_since_epoch();
  rusage own{};
  getrusage(RUSAGE_SELF, &own);
  snapshot.own_cpu_seconds = seconds_of(own.ru_utime) + seconds_of(own.ru_stime);
  read_cpu_times(files, snapshot);
  snapshot.cpu_stall_seconds = read_stall(files, "/proc/pressure/cpu");
  snapshot.memory_stall_seconds = read_stall(files, "/proc/pressure/memory");
  snapshot.io_stall_seconds = read_stall(files, "/proc/pressure/io");
  return snapshot;
}

MachineLoad load_between(const LoadSnapshot& before, const LoadSnapshot& after) {
  MachineLoad load;
  const double seconds = std::chrono::duration<double>(after.at - before.at).count();
  load.set_seconds(seconds);
  if (before.busy_cpu_seconds && after.busy_cpu_seconds) {
    const double total = *after.total_cpu_seconds - *before.total_cpu_seconds;
    const double own = after.own_cpu_seconds - before.own_cpu_seconds;
    const double foreign = *after.busy_cpu_seconds - *before.busy_cpu_seconds - own;
    // The kernel counts in ticks of 10 ms; a difference within one tick is nothing.
    if (total > 0) load.set_foreign_cpu(std::clamp(foreign / total, 0.0, 1.0));
  }
  const auto share = [seconds](const std::optional<double>& from, const std::optional<double>& to) {
    return std::clamp((*to - *from) / seconds, 0.0, 1.0);
  };
  if (before.cpu_stall_seconds && after.cpu_stall_seconds) {
    load.set_cpu_pressure(share(before.cpu_stall_seconds, after.cpu_stall_seconds));
  }
  if (before.memory_stall_seconds && after.memory_stall_seconds) {
    load.set_memory_pressure(share(before.memory_stall_seconds, after.memory_stall_seconds));
  }
  if (before.io_stall_seconds && after.io_stall_seconds) {
    load.set_io_pressure(share(before.io_stall_seconds, after.io_stall_seconds));
  }
  return load;
}

}  // namespace finch::agent
