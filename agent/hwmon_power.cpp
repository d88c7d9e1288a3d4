// PowerSensor of INA219, INA226 and their kind on hwmon: a chip that somebody has put into the supply line.
#include <algorithm>
#include <array>
#include <format>
#include <map>
#include <optional>
#include <string_view>
#include <utility>

#include "agent/board_power.hpp"

namespace finch::agent {
namespace {

// The kernel's driver counts the current in steps of the shunt's voltage step and the power in `power_factor` of
// them (Linux, drivers/hwmon/ina2xx.c). 0: other chips, whose steps are set by their drivers.
struct InaChip {
  std::string_view name;
  double shunt_step_microvolt = 0;
  double power_factor = 0;
};
constexpr std::array<InaChip, 12> kChips{{{"ina219", 10, 20},
                                          {"ina220", 10, 20},
                                          {"ina226", 2.5, 25},
                                          {"ina230", 2.5, 25},
                                          {"ina231", 2.5, 25},
                                          {"ina228"},
                                          {"ina233"},
                                          {"ina234"},
                                          {"ina237"},
                                          {"ina238"},
                                          {"ina260"},
                                          {"ina209"}}};
constexpr double kDriversShuntMicroOhm = 10'000;  // unless it is told another
constexpr double kMostMilliwatt = 1e6;

struct InaSensor {
  std::string label;
  std::string folder;
  InaChip chip;
};

class HwmonPower final : public PowerSensor {
 public:
  HwmonPower(const SystemFiles& files, std::vector<InaSensor> sensors) : files_(files), sensors_(std::move(sensors)) {
    // Where there are several, nobody says which of them is the input.
    if (sensors_.size() == 1) total_.push_back(sensors_.front().label);
  }

  PowerProvenance provenance() const override { return PowerProvenance::kExternal; }
  const std::vector<std::string>& total_rails() const override { return total_; }

  PowerReading read() override {
    PowerReading reading{.at = monotonic_now(), .rails = {}, .problems = {}};
    for (const InaSensor& sensor : sensors_) read_sensor(sensor, reading);
    if (sensors_.size() > 1) {
      reading.problems.push_back(
          std::format("{} power sensors are on hwmon, and nothing says which one is the input", sensors_.size()));
    }
    return reading;
  }

 private:
  void read_sensor(const InaSensor& sensor, PowerReading& reading) const {
    const auto millivolt = files_.read_number(sensor.folder + "/in1_input");
    const auto milliampere = files_.read_number(sensor.folder + "/curr1_input");
    std::optional<double> milliwatt;
    std::optional<double> resolution;
    const double shunt = static_cast<double>(files_.read_number(sensor.folder + "/shunt_resistor").value_or(0));
    const double current_step = sensor.chip.shunt_step_microvolt * 1000 / (shunt > 0 ? shunt : kDriversShuntMicroOhm);
    if (const auto microwatt = files_.read_number(sensor.folder + "/power1_input")) {
      milliwatt = static_cast<double>(*microwatt) / 1000;
      if (current_step > 0) resolution = current_step * sensor.chip.power_factor;
    } else if (millivolt && milliampere) {
      milliwatt = static_cast<double>(*millivolt) * static_cast<double>(*milliampere) / 1000;
      // Whole milliamperes are all that the file can say.
      resolution = std::max(current_step, 1.0) * static_cast<double>(*millivolt) / 1000;
    }
    if (!milliwatt || *milliwatt < -kMostMilliwatt || *milliwatt > kMostMilliwatt) {
      reading.problems.push_back(std::format("{} gives no reading", sensor.label));
      return;
    }
    reading.rails.push_back({sensor.label, *milliwatt, resolution});
  }

  SystemFiles files_;
  std::vector<InaSensor> sensors_;
  std::vector<std::string> total_;
};

// Folder of every hwmon device -> chip's name. A device may be there as one of the class and as one of its bus.
std::map<std::string, std::pair<std::string, std::string>> hwmon_devices(const SystemFiles& files) {
  std::map<std::string, std::pair<std::string, std::string>> devices;
  for (const std::string& hwmon : files.list("/sys/class/hwmon", "hwmon")) {
    const auto name = files.read(hwmon + "/name");
    devices.try_emplace(leaf_name(hwmon), hwmon, name ? *name : files.read(hwmon + "/device/name").value_or(""));
  }
  for (const std::string& device : files.list("/sys/bus/i2c/devices")) {
    for (const std::string& hwmon : files.list(device + "/hwmon", "hwmon")) {
      devices.try_emplace(leaf_name(hwmon), hwmon, files.read(device + "/name").value_or(""));
    }
  }
  return devices;
}

}  // namespace

std::unique_ptr<PowerSensor> open_hwmon_power(const SystemFiles& files) {
  std::vector<InaSensor> sensors;
  for (const auto& [leaf, device] : hwmon_devices(files)) {
    const auto& [folder, name] = device;
    const auto* chip = std::ranges::find(kChips, name, &InaChip::name);
    if (chip == kChips.end()) continue;
    const auto same = std::ranges::count(sensors, chip->name, [](const InaSensor& sensor) { return sensor.chip.name; });
    std::string label = files.read(folder + "/in1_label").value_or("");
    if (label.empty()) label = same == 0 ? name : std::format("{} ({})", name, leaf);
    sensors.push_back({std::move(label), folder, *chip});
  }
  if (sensors.empty()) return nullptr;
  return std::make_unique<HwmonPower>(files, std::move(sensors));
}

}  // namespace finch::agent
