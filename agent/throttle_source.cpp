#include "agent/throttle_source.hpp"

#include <array>
#include <format>
#include <string_view>
#include <utility>

#include "agent/raspberry_firmware.hpp"

namespace finch::agent {
namespace {

class SystemThrottleSources final : public ThrottleSource {
 public:
  explicit SystemThrottleSources(SystemFiles files) : files_(std::move(files)) {}

  ThrottleReading read() const override {
    ThrottleReading reading;
    read_firmware(reading);
    read_alerts(reading);
    read_over_current(reading);
    read_processors(reading);
    return reading;
  }

 private:
  void read_firmware(ThrottleReading& reading) const {
    const auto add = [&reading](std::int64_t flags) {
      reading.firmware_flags = reading.firmware_flags.value_or(0) | static_cast<std::uint32_t>(flags);
    };
    // "soc/soc:firmware" on a Raspberry Pi 3 to 5 with today's kernels; the node may carry the bus address.
    for (const std::string& soc : files_.list("/sys/devices/platform", "soc")) {
      for (const std::string& firmware : files_.list(soc, "soc")) {
        const std::string path = firmware + "/get_throttled";
        if (const auto flags = files_.read_number(path, 16)) {
          add(*flags);
        } else if (files_.holds(path)) {
          reading.problems.push_back(path + " holds no hexadecimal number");
        }
      }
    }
    if (const auto answer = ask_raspberry_firmware(files_, "get_throttled")) {
      if (const auto flags = parse_throttled(*answer)) {
        add(*flags);
      } else {
        reading.problems.emplace_back("the firmware's answer to get_throttled is not understood");
      }
    }
  }

  void read_alerts(ThrottleReading& reading) const {
    for (const std::string& device : files_.list("/sys/class/thermal", "cooling_device")) {
      const std::string type = files_.read(device + "/type").value_or("");
      if (!type.ends_with("-throttle-alert") && type != "hot-surface-alert") continue;
      const auto state = files_.read_number(device + "/cur_state");
      if (!state) {
        reading.problems.push_back(std::format("{} gives no state", type));
      } else if (*state > 0) {
        reading.active_alerts.push_back(type);
      }
    }
    for (const std::string& hwmon : files_.list("/sys/class/hwmon", "hwmon")) {
      if (files_.read(hwmon + "/name") != "rpi_volt") continue;
      if (files_.read_number(hwmon + "/in0_lcrit_alarm").value_or(0) != 0) {
        reading.active_alerts.emplace_back("under-voltage");
      }
    }
  }

  void read_over_current(ThrottleReading& reading) const {
    const std::string events = "/sys/devices/platform/soctherm-oc-event/hwmon";
    for (const std::string& hwmon : files_.list(events, "hwmon")) {
      for (const std::string& counter : files_.list(hwmon, "oc")) {
        if (!counter.ends_with("_event_cnt")) continue;
        const std::string name = "over-current " + leaf_name(counter).substr(0, 3);
        if (const auto count = files_.read_number(counter)) {
          reading.counts[name] = *count;
        } else {
          reading.problems.push_back(std::format("the counter {} cannot be read", name));
        }
      }
    }
  }

  void read_processors(ThrottleReading& reading) const {
    for (const std::string& cpu : files_.list("/sys/devices/system/cpu", "cpu")) {
      if (const auto count = files_.read_number(cpu + "/thermal_throttle/core_throttle_count")) {
        reading.counts["thermal throttling of " + leaf_name(cpu)] = *count;
      }
    }
  }

  SystemFiles files_;
};

}  // namespace

std::vector<std::string> firmware_flag_names(std::uint32_t flags) {
  constexpr std::array<const char*, 4> kNames{"under-voltage", "ARM frequency capped", "throttled",
                                              "soft temperature limit"};
  std::vector<std::string> names;
  for (std::size_t bit = 0; bit < kNames.size(); ++bit) {
    if ((flags >> bit & 1U) != 0) names.emplace_back(kNames[bit]);
  }
  return names;
}

std::unique_ptr<ThrottleSource> open_throttle_sources(SystemFiles files) {
  return std::make_unique<SystemThrottleSources>(std::move(files));
}

}  // namespace finch::agent
