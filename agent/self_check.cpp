#include "agent/self_check.hpp"

#include <algorithm>
#include <ctime>
#include <format>
#include <system_error>

#include "agent/json_text.hpp"
#include "agent/thermal_sensor.hpp"
#include "protocol/durable_file.hpp"
#include "protocol/farm.pb.h"

namespace finch::agent {
namespace {

namespace fs = std::filesystem;
using State = CheckedThing::State;

void check_runtimes(const protocol::DeviceDescription& device, std::vector<CheckedThing>& things) {
  for (const auto& runtime : device.runtimes()) {
    things.push_back(
        {"runtime", State::kGood,
         std::format("{} {} loads and computes the reference network", runtime.name(), runtime.version())});
  }
  for (const std::string& obstacle : device.cannot_measure()) {
    // Without a runtime each quantity has the same obstacle: said once.
    const bool no_runtime = device.runtimes().empty();
    if (no_runtime && !obstacle.starts_with("latency")) continue;
    things.push_back({no_runtime ? "runtime" : "sensors", no_runtime ? State::kFailed : State::kWarning,
                      "cannot measure " + obstacle});
  }
}

CheckedThing check_state_folder(const fs::path& folder) {
  constexpr std::uintmax_t kLeast = std::uintmax_t{64} << 20U;  // a few models and their caches
  CheckedThing thing{.what = "state folder"};
  std::error_code error;
  fs::create_directories(folder, error);
  const auto file = error ? std::unexpected(protocol::Error{error.message()}) : protocol::make_unique_file(folder);
  if (!file) {
    thing.state = State::kFailed;
    thing.says = std::format("{} cannot be written: {}; give it to this user, or name another with --state",
                             folder.string(), file.error().message);
    return thing;
  }
  fs::remove(file->second, error);
  const fs::space_info space = fs::space(folder, error);
  const bool tight = !error && space.available < kLeast;
  if (tight) thing.state = State::kWarning;
  thing.says = std::format("{} can be written, {} MiB are free{}", folder.string(), error ? 0 : space.available >> 20U,
                           tight ? "; models may not fit" : "");
  return thing;
}

CheckedThing check_clock(std::chrono::system_clock::time_point now, std::chrono::nanoseconds resolution) {
  using std::chrono::sys_days;
  using std::chrono::year;
  constexpr auto kOldest = sys_days(year(2025) / 1 / 1);  // before this program was written
  CheckedThing thing{.what = "clock"};
  const std::string date = std::format("{:%F %H:%M} UTC", std::chrono::floor<std::chrono::minutes>(now));
  if (resolution > std::chrono::microseconds(1)) {
    thing.state = State::kFailed;
    thing.says = std::format(
        "it counts in steps of {} ns, too coarse for latencies; boot a kernel with "
        "high-resolution timers",
        resolution.count());
  } else if (now < kOldest) {
    thing.state = State::kWarning;
    thing.says = std::format(
        "it shows {}, so the log's times are wrong (measurements are not); set it: timedatectl "
        "set-ntp true",
        date);
  } else {
    thing.says = std::format("it shows {} and counts in steps of {} ns", date, resolution.count());
  }
  return thing;
}

CheckedThing check_temperature(const SystemFiles& files) {
  CheckedThing thing{.what = "sensors"};
  const auto zones = open_thermal_zones(files)->read();
  const auto working =
      std::ranges::count_if(zones, [](const ThermalReading& zone) { return zone.celsius.has_value(); });
  if (working == 0) {
    thing.state = State::kWarning;
    thing.says = zones.empty() ? "no temperature sensor, so a hot start is not noticed"
                               : std::format("no temperature: {}", zones.front().problem);
  } else {
    thing.says = std::format("{} of {} temperature sensors give a reading", working, zones.size());
  }
  return thing;
}

CheckedThing check_sandbox(int landlock) {
  if (landlock > 0) {
    return {"sandbox", State::kGood,
            std::format("a measuring process can use the files that it needs and no others (Landlock {})", landlock)};
  }
  return {
      "sandbox", State::kWarning,
      "this kernel has no Landlock, so a measuring process can read what this user can; Linux 5.13 and later have it "
      "where CONFIG_SECURITY_LANDLOCK is set and lsm= on the kernel's command line names landlock"};
}

const char* name_of(State state) {
  switch (state) {
    case State::kGood:
      return "good";
    case State::kWarning:
      return "warning";
    case State::kFailed:
      break;
  }
  return "failed";
}

}  // namespace

std::chrono::nanoseconds monotonic_resolution() {
  timespec step{};
  clock_getres(CLOCK_MONOTONIC, &step);
  return std::chrono::seconds(step.tv_sec) + std::chrono::nanoseconds(step.tv_nsec);
}

std::vector<CheckedThing> check_self(const protocol::DeviceDescription& device, const SystemFiles& files,
                                     const fs::path& state_folder, std::chrono::system_clock::time_point now,
                                     std::chrono::nanoseconds resolution, int landlock) {
  std::vector<CheckedThing> things;
  check_runtimes(device, things);
  things.push_back(check_state_folder(state_folder));
  things.push_back(check_clock(now, resolution));
  things.push_back(check_temperature(files));
  things.push_back(check_sandbox(landlock));
  return things;
}

bool any_failed(const std::vector<CheckedThing>& things) {
  return std::ranges::contains(things, State::kFailed, &CheckedThing::state);
}

std::string check_line(const CheckedThing& thing) {
  return std::format("{:<8} {}: {}", name_of(thing.state), thing.what, thing.says);
}

std::string check_json(const std::vector<CheckedThing>& things) {
  std::string entries;
  for (const CheckedThing& thing : things) {
    entries += std::format(R"({}{{"what": {}, "state": {}, "says": {}}})", entries.empty() ? "" : ", ",
                           json_string(thing.what), json_string(name_of(thing.state)), json_string(thing.says));
  }
  return std::format(R"({{"good": {}, "checks": [{}]}})", !any_failed(things), entries);
}

}  // namespace finch::agent
