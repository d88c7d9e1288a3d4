#include "agent/device_state.hpp"

#include <algorithm>
#include <cmath>
#include <format>
#include <set>
#include <utility>

#include "agent/frequency_source.hpp"
#include "agent/thermal_sensor.hpp"
#include "agent/throttle_source.hpp"

namespace finch::agent {
namespace {

void take_clocks(const FrequencyReading& reading, DeviceState& state) {
  for (const ClockReading& clock : reading.clocks) {
    if (!clock.governor.empty()) state.governors[clock.name] = clock.governor;
    if (clock.minimum_hz && clock.maximum_hz) {
      state.frequency_limits[clock.name] =
          std::format("{}..{} kHz", *clock.minimum_hz / 1000, *clock.maximum_hz / 1000);
    }
  }
  if (!reading.power_mode.empty()) state.governors["nvpmodel"] = reading.power_mode;
}

void take_temperatures(const std::vector<ThermalReading>& readings, DeviceState& state) {
  for (const ThermalReading& reading : readings) {
    if (!reading.celsius) {
      state.offline_sensors.push_back(reading.type);
      continue;
    }
    const auto [known, first] = state.temperatures.try_emplace(reading.type, *reading.celsius);
    if (!first) known->second = std::max(known->second, *reading.celsius);
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

}  // namespace

std::optional<double> hottest_celsius(const DeviceState& state) {
  std::optional<double> celsius;
  for (const auto& [zone, temperature] : state.temperatures)
    celsius = std::max(celsius.value_or(temperature), temperature);
  return celsius;
}

DeviceState read_device_state(const SystemFiles& files) {
  DeviceState state;
  take_clocks(open_frequency_sources(files)->read(), state);
  take_temperatures(open_thermal_zones(files)->read(), state);
  ThrottleReading throttle = open_throttle_sources(files)->read();
  state.firmware_throttled = throttle.firmware_flags;
  state.active_alerts = std::move(throttle.active_alerts);
  state.throttle_counts = std::move(throttle.counts);
  return state;
}

StateChanges compare_states(const DeviceState& before, const std::vector<DeviceState>& during, const DeviceState& after,
                            double slope_celsius) {
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
  for (const std::string& flag : firmware_flag_names(live)) invalidate("the firmware reports: " + flag);
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
  const auto first = hottest_celsius(before), last = hottest_celsius(after);
  if (first && last && std::abs(*last - *first) > slope_celsius)
    changes.degrading.push_back(std::format("the temperature went from {:.1f} to {:.1f} °C", *first, *last));
  return changes;
}

}  // namespace finch::agent
