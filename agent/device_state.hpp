// What may change on a device while it measures and spoils a measurement: governor, frequency limits, temperatures,
// throttling. Free functions and values; thread safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/system_files.hpp"

namespace finch::agent {

// Only what the device tells; the rest stays empty.
struct DeviceState {
  // "policy0" -> "schedutil"; devfreq devices by their names; "nvpmodel" -> the power mode
  std::map<std::string, std::string> governors;
  std::map<std::string, std::string> frequency_limits;  // "policy0" -> "1500000..2400000 kHz"
  std::map<std::string, double> temperatures;           // zone type -> degrees Celsius
  std::vector<std::string> offline_sensors;             // zones that give no temperature
  // Raspberry Pi firmware. Low bits are live, bits 16 to 19 stay set since boot.
  std::optional<std::uint32_t> firmware_throttled;
  std::vector<std::string> active_alerts;               // "gpu-throttle-alert", "under-voltage"
  std::map<std::string, std::int64_t> throttle_counts;  // of events since boot: over-current, thermal
};

DeviceState read_device_state(const SystemFiles& files);

// What happened between two states and while samples in between were taken. One line each.
struct StateChanges {
  std::vector<std::string> invalidating;  // throttled, under-voltage, over-current, governor or limits changed, ...
  std::vector<std::string> degrading;     // temperature slope
};

// `during`: any number of states sampled between `before` and `after`. A rise or fall of the hottest zone by more than
// `slope_celsius` between start and end is a slope.
StateChanges compare_states(const DeviceState& before, const std::vector<DeviceState>& during, const DeviceState& after,
                            double slope_celsius);

// Of the hottest zone, in degrees Celsius; absent: the device does not tell.
std::optional<double> hottest_celsius(const DeviceState& state);

}  // namespace finch::agent
