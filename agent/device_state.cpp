#include "agent/device_state.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <format>
#include <set>
#include <utility>

namespace finch::agent {
namespace {

// A sensor without power reads -256 degrees (NVIDIA's BPMP); nothing that runs is that cold.
constexpr double kColdestSensorCelsius = -40;

constexpr std::array<std::pair<unsigned, const char*>, 4> kFirmwareFlags{{
    {0, "under-voltage"},
    {1, "ARM frequency capped"},
    {2, "throttled"},
    {3, "soft temperature limit"},
}};

std::string leaf(const std::string& path) {
  return path.substr(path.rfind('/') + 1);
}

void read_frequencies(const SystemFiles& files, DeviceState& state) {
  for (const std::string& policy : files.list("/sys/devices/system/cpu/cpufreq", "policy")) {
    const std::string name = leaf(policy);
    if (auto governor = files.read(policy + "/scaling_governor")) state.governors[name] = *governor;
    const auto low = files.read(policy + "/scaling_min_freq");
    const auto high = files.read(policy + "/scaling_max_freq");
    if (low && high) state.frequency_limits[name] = *low + ".." + *high + " kHz";
  }
  for (const std::string& device : files.list("/sys/class/devfreq")) {
    const std::string name = leaf(device);
    if (auto governor = files.read(device + "/governor")) state.governors[name] = *governor;
    const auto low = files.read(device + "/min_freq");
    const auto high = files.read(device + "/max_freq");
    if (low && high) state.frequency_limits[name] = *low + ".." + *high + " Hz";
  }
}

void read_thermal(const SystemFiles& files, DeviceState& state) {
  for (const std::string& zone : files.list("/sys/class/thermal", "thermal_zone")) {
    const std::string type = files.read(zone + "/type").value_or(leaf(zone));
    const auto millidegrees = files.read_number(zone + "/temp");
    const double celsius = millidegrees ? static_cast<double>(*millidegrees) / 1000 : kColdestSensorCelsius;
    if (celsius <= kColdestSensorCelsius) {
      state.offline_sensors.push_back(type);
    } else if (!state.temperatures.contains(type)) {
      state.temperatures[type] = celsius;
    } else {
      state.temperatures[type] = std::max(state.temperatures[type], celsius);
    }
  }
  for (const std::string& device : files.list("/sys/class/thermal", "cooling_device")) {
    const std::string type = files.read(device + "/type").value_or("");
    const bool alert = type.ends_with("throttle-alert") || type.ends_with("hot-surface-alert");
    if (alert && files.read_number(device + "/cur_state").value_or(0) > 0) state.active_alerts.push_back(type);
  }
}

void read_throttling(const SystemFiles& files, DeviceState& state) {
  // "soc/soc:firmware" on a Raspberry Pi 4 and 5 with today's kernels; the node may carry the bus address.
  for (const std::string& soc : files.list("/sys/devices/platform", "soc")) {
    for (const std::string& firmware : files.list(soc, "soc")) {
      if (const auto flags = files.read_number(firmware + "/get_throttled", 16)) {
        state.firmware_throttled = static_cast<std::uint32_t>(*flags);
      }
    }
  }
  for (const std::string& hwmon : files.list("/sys/class/hwmon", "hwmon")) {
    if (files.read(hwmon + "/name") == "rpi_volt" && files.read_number(hwmon + "/in0_lcrit_alarm").value_or(0) != 0) {
      state.active_alerts.emplace_back("under-voltage");
    }
  }
  const std::string events = "/sys/devices/platform/soctherm-oc-event/hwmon";
  for (const std::string& hwmon : files.list(events, "hwmon")) {
    for (const std::string& counter : files.list(hwmon, "oc")) {
      if (!counter.ends_with("_event_cnt")) continue;
      if (const auto count = files.read_number(counter)) {
        state.throttle_counts["over-current " + leaf(counter).substr(0, 3)] = *count;
      }
    }
  }
  for (const std::string& cpu : files.list("/sys/devices/system/cpu", "cpu")) {
    if (const auto count = files.read_number(cpu + "/thermal_throttle/core_throttle_count")) {
      state.throttle_counts["thermal throttling of " + leaf(cpu)] = *count;
    }
  }
}

template <typename Map>
void report_changed(const Map& before, const Map& after, const std::string& what, std::vector<std::string>& reasons) {
  for (const auto& [name, value] : before) {
    const auto now = after.find(name);
    if (now == after.end()) {
      reasons.push_back(std::format("{} of {} became unreadable", what, name));
    } else if (now->second != value) {
      reasons.push_back(std::format("{} of {} changed from {} to {}", what, name, value, now->second));
    }
  }
}

double hottest(const DeviceState& state) {
  double celsius = kColdestSensorCelsius;
  for (const auto& [zone, temperature] : state.temperatures) celsius = std::max(celsius, temperature);
  return celsius;
}

}  // namespace

DeviceState read_device_state(const SystemFiles& files) {
  DeviceState state;
  read_frequencies(files, state);
  read_thermal(files, state);
  read_throttling(files, state);
  return state;
}

StateChanges compare_states(const DeviceState& before, const std::vector<DeviceState>& during,
                            const DeviceState& after) {
  StateChanges changes;
  std::vector<const DeviceState*> all{&before};
  for (const DeviceState& state : during) all.push_back(&state);
  all.push_back(&after);

  // Each reason once, however many samples show it.
  std::set<std::string> seen;
  const auto invalidate = [&](std::string reason) {
    if (seen.insert(reason).second) changes.invalidating.push_back(std::move(reason));
  };
  // The kernel may clear sticky bits, so the live ones of every sample count, and a sticky bit that is new at the end.
  std::uint32_t live = 0;
  for (const DeviceState* state : all) live |= state->firmware_throttled.value_or(0) & 0xFU;
  const std::uint32_t sticky_before = before.firmware_throttled.value_or(0) >> 16U;
  const std::uint32_t sticky_after = after.firmware_throttled.value_or(0) >> 16U;
  live |= sticky_after & ~sticky_before & 0xFU;
  for (const auto& [bit, name] : kFirmwareFlags) {
    if ((live >> bit & 1U) != 0) invalidate(std::format("the firmware reports: {}", name));
  }
  for (const DeviceState* state : all) {
    for (const std::string& alert : state->active_alerts) invalidate(std::format("{} was active", alert));
  }
  for (const auto& [name, count] : after.throttle_counts) {
    const auto start = before.throttle_counts.find(name);
    if (start != before.throttle_counts.end() && count > start->second) {
      invalidate(std::format("{}: {} events", name, count - start->second));
    }
  }
  for (std::size_t i = 1; i < all.size(); ++i) {
    std::vector<std::string> reasons;
    report_changed(all[i - 1]->governors, all[i]->governors, "governor", reasons);
    report_changed(all[i - 1]->frequency_limits, all[i]->frequency_limits, "frequency limit", reasons);
    for (const std::string& sensor : all[i]->offline_sensors) {
      if (all[i - 1]->temperatures.contains(sensor)) reasons.push_back(std::format("sensor {} went offline", sensor));
    }
    for (std::string& reason : reasons) invalidate(std::move(reason));
  }
  if (!before.temperatures.empty() && !after.temperatures.empty()) {
    const double rise = hottest(after) - hottest(before);
    if (std::abs(rise) > kTemperatureSlopeCelsius) {
      changes.degrading.push_back(
          std::format("the temperature went from {:.1f} to {:.1f} °C", hottest(before), hottest(after)));
    }
  }
  return changes;
}

}  // namespace finch::agent
