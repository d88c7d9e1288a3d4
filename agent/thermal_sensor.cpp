#include "agent/thermal_sensor.hpp"

#include <cstdint>
#include <format>
#include <utility>

namespace finch::agent {
namespace {

// A sensor without power reads -256 degrees (NVIDIA's BPMP); nothing that runs is that cold, and no chip works above
// 150 degrees.
constexpr double kColdestCelsius = -40;
constexpr double kHottestCelsius = 150;

class ThermalZones final : public ThermalSensor {
 public:
  explicit ThermalZones(SystemFiles files) : files_(std::move(files)) {}

  std::vector<ThermalReading> read() const override {
    std::vector<ThermalReading> readings;
    for (const std::string& zone : files_.list("/sys/class/thermal", "thermal_zone")) {
      ThermalReading reading{.type = files_.read(zone + "/type").value_or("")};
      if (reading.type.empty()) reading.type = leaf_name(zone);
      const auto millidegrees = files_.read_number(zone + "/temp");
      const double celsius = static_cast<double>(millidegrees.value_or(0)) / 1000;
      if (!millidegrees) {
        reading.problem = std::format("thermal zone {} gives no temperature", reading.type);
      } else if (celsius <= kColdestCelsius) {
        reading.problem = std::format("thermal zone {} is offline (it reads {:.0f} °C)", reading.type, celsius);
      } else if (celsius > kHottestCelsius) {
        reading.problem = std::format("thermal zone {} reads {:.0f} °C, which cannot be", reading.type, celsius);
      } else {
        reading.celsius = celsius;
      }
      readings.push_back(std::move(reading));
    }
    return readings;
  }

 private:
  SystemFiles files_;
};

}  // namespace

std::unique_ptr<ThermalSensor> open_thermal_zones(SystemFiles files) {
  return std::make_unique<ThermalZones>(std::move(files));
}

}  // namespace finch::agent
