// The temperatures of a board. Thread safe.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/system_files.hpp"

namespace finch::agent {

struct ThermalReading {
  std::string type;                 // "cpu-thermal"
  std::optional<double> celsius{};  // absent: offline or not readable
  std::string problem{};            // then why
};

class ThermalSensor {
 public:
  virtual ~ThermalSensor() = default;
  virtual std::vector<ThermalReading> read() const = 0;
};

// The thermal zones of sysfs, in order of their numbers.
std::unique_ptr<ThermalSensor> open_thermal_zones(SystemFiles files);

}  // namespace finch::agent
