#include "agent/ina3221.hpp"

#include <algorithm>
#include <format>
#include <map>
#include <set>
#include <string_view>
#include <utility>

namespace finch::agent {
namespace {

bool is_bus_address(std::string_view name) {
  const std::size_t dash = name.find('-');
  return dash != std::string_view::npos && parse_number(name.substr(0, dash)).has_value() && name.size() == dash + 5 &&
         parse_number(name.substr(dash + 1), 16).has_value();
}

bool is_connected(const Ina3221Channel& channel) {
  return channel.label != "NC";
}

// The kernel's driver: channels 1 to 3. in4 to in6 are the voltages over the shunts and in7 their sum: no rails.
void read_hwmon(const SystemFiles& files, const std::string& hwmon, Ina3221Chip& chip) {
  for (int number = 1; number <= 3; ++number) {
    Ina3221Channel channel{.label = files.read(std::format("{}/in{}_label", hwmon, number)).value_or(""),
                           .voltage = std::format("{}/in{}_input", hwmon, number),
                           .current = std::format("{}/curr{}_input", hwmon, number)};
    if (channel.label.empty() && !files.holds(channel.voltage)) continue;
    channel.enabled = files.read(std::format("{}/in{}_enable", hwmon, number)).value_or("1") != "0";
    const auto shunt = files.read_number(std::format("{}/shunt{}_resistor", hwmon, number));
    if (shunt && *shunt > 0) channel.shunt_micro_ohm = static_cast<double>(*shunt);
    if (is_connected(channel)) chip.channels.push_back(std::move(channel));
  }
}

// NVIDIA's driver: channels 0 to 2, and the power too.
void read_iio(const SystemFiles& files, const std::string& device, Ina3221Chip& chip) {
  for (int number = 0; number <= 2; ++number) {
    Ina3221Channel channel{.label = files.read(std::format("{}/rail_name_{}", device, number)).value_or(""),
                           .voltage = std::format("{}/in_voltage{}_input", device, number),
                           .current = std::format("{}/in_current{}_input", device, number),
                           .power = std::format("{}/in_power{}_input", device, number)};
    if (!channel.label.empty() && is_connected(channel)) chip.channels.push_back(std::move(channel));
  }
}

}  // namespace

std::vector<Ina3221Chip> find_ina3221(const SystemFiles& files) {
  std::map<std::string, std::string> folders;  // by address; the drivers' folders hold links to the same devices
  for (const char* bus : {"/sys/bus/i2c/devices", "/sys/bus/i2c/drivers/ina3221", "/sys/bus/i2c/drivers/ina3221x"}) {
    const bool of_driver = std::string_view(bus).contains("drivers");
    for (const std::string& folder : files.list(bus)) {
      if (!is_bus_address(leaf_name(folder))) continue;
      const std::string name = files.read(folder + "/name").value_or("");
      if (of_driver || name == "ina3221" || name == "ina3221x") folders.try_emplace(leaf_name(folder), folder);
    }
  }
  std::vector<Ina3221Chip> chips;
  std::set<std::string> seen;  // "hwmon3", "iio:device0"
  const auto add = [&](const std::string& address, const std::string& hwmon_or_iio) {
    if (!seen.insert(leaf_name(hwmon_or_iio)).second) return;
    Ina3221Chip chip{.address = address, .channels = {}};
    if (leaf_name(hwmon_or_iio).starts_with("hwmon")) {
      read_hwmon(files, hwmon_or_iio, chip);
    } else {
      read_iio(files, hwmon_or_iio, chip);
    }
    if (!chip.channels.empty()) chips.push_back(std::move(chip));
  };
  for (const auto& [address, folder] : folders) {
    for (const std::string& hwmon : files.list(folder + "/hwmon", "hwmon")) add(address, hwmon);
    for (const std::string& device : files.list(folder, "iio")) add(address, device);
  }
  // By class, where the bus is not shown.
  for (const std::string& hwmon : files.list("/sys/class/hwmon", "hwmon")) {
    if (files.read(hwmon + "/name") == "ina3221") add(leaf_name(hwmon), hwmon);
  }
  for (const std::string& device : files.list("/sys/bus/iio/devices", "iio")) add(leaf_name(device), device);
  return chips;
}

}  // namespace finch::agent
