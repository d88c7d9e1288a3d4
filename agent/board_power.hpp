// The power sensors that a board has. Free functions; thread safe, their sensors for one thread at a time each.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "agent/power_sensor.hpp"
#include "agent/system_files.hpp"

namespace finch::agent {

struct PowerSettings {
  std::string command{};  // a program that prints "monotonic_ns watts" lines; empty: none
  PowerProvenance command_provenance = PowerProvenance::kExternal;
};

// Best first: the command, what a Jetson measures itself, INA219 and its kind in the supply line, the power chip of a
// Raspberry Pi 5, RAPL. The first one with total_rails() is what energy is measured with.
std::vector<std::unique_ptr<PowerSensor>> find_power_sensors(const SystemFiles& files, const PowerSettings& settings);

// Those that find_power_sensors() puts together; null: the board has none of the kind.
std::unique_ptr<PowerSensor> open_jetson_power(const SystemFiles& files);
std::unique_ptr<PowerSensor> open_hwmon_power(const SystemFiles& files);
std::unique_ptr<PowerSensor> open_pmic_power(const SystemFiles& files);
std::unique_ptr<PowerSensor> open_rapl_power(const SystemFiles& files);

}  // namespace finch::agent
