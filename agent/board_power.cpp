#include "agent/board_power.hpp"

#include <utility>

#include "agent/command_power.hpp"

namespace finch::agent {

std::vector<std::unique_ptr<PowerSensor>> find_power_sensors(const SystemFiles& files, const PowerSettings& settings) {
  std::vector<std::unique_ptr<PowerSensor>> sensors;
  const auto add = [&sensors](std::unique_ptr<PowerSensor> sensor) {
    if (sensor) sensors.push_back(std::move(sensor));
  };
  if (!settings.command.empty()) add(open_command_power(settings.command, settings.command_provenance));
  add(open_jetson_power(files));
  add(open_hwmon_power(files));
  add(open_pmic_power(files));
  add(open_rapl_power(files));
  return sensors;
}

}  // namespace finch::agent
