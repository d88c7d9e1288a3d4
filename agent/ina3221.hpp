// The INA3221 power monitors of a Jetson, as NVIDIA's old driver (JetPack up to 4, iio) and the kernel's (from
// JetPack 5, hwmon) show them. Values and free functions; thread safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/system_files.hpp"

namespace finch::agent {

struct Ina3221Channel {
  std::string label;  // the rail: "VDD_IN"; empty: the board names none
  bool enabled = true;
  std::string voltage, current;  // files in mV and mA
  std::string power{};           // a file in mW; empty: the driver has none
  std::optional<double> shunt_micro_ohm{};
};

struct Ina3221Chip {
  std::string address;  // on the i2c bus: "1-0040"
  std::vector<Ina3221Channel> channels;
};

// In order of their addresses. Channels whose label is "NC" are not connected and left out.
std::vector<Ina3221Chip> find_ina3221(const SystemFiles& files);

}  // namespace finch::agent
