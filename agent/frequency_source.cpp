#include "agent/frequency_source.hpp"

#include <format>
#include <string_view>
#include <utility>

namespace finch::agent {
namespace {

std::optional<std::int64_t> times(std::optional<std::int64_t> value, std::int64_t factor) {
  if (!value || *value < 0 || *value > std::int64_t{1'000'000'000'000} / factor) return std::nullopt;
  return *value * factor;
}

// "POWER_MODEL ID=2 NAME=MODE_30W" of nvpmodel.conf, the name of one identity.
std::string power_mode_name(std::string_view configuration, std::int64_t identity) {
  const std::string key = std::format("POWER_MODEL ID={} NAME=", identity);
  const std::size_t at = configuration.find(key);
  if (at == std::string_view::npos) return std::format("mode {}", identity);
  const std::string_view rest = configuration.substr(at + key.size());
  return std::string(rest.substr(0, rest.find_first_of(" >\n\r\t")));
}

class SystemFrequencySources final : public FrequencySource {
 public:
  explicit SystemFrequencySources(SystemFiles files) : files_(std::move(files)) {}

  FrequencyReading read() const override {
    FrequencyReading reading;
    for (const std::string& policy : files_.list("/sys/devices/system/cpu/cpufreq", "policy")) {
      reading.clocks.push_back(read_policy(policy));
    }
    for (const std::string& device : files_.list("/sys/class/devfreq")) {
      reading.clocks.push_back(read_devfreq(device));
    }
    reading.power_mode = read_power_mode();
    read_fan(reading);
    return reading;
  }

 private:
  ClockReading read_policy(const std::string& policy) const {
    ClockReading clock{.name = leaf_name(policy), .governor = files_.read(policy + "/scaling_governor").value_or("")};
    clock.current_hz = times(files_.read_number(policy + "/cpuinfo_cur_freq"), 1000);
    clock.current_is_hardware = clock.current_hz.has_value();
    if (!clock.current_hz) clock.current_hz = times(files_.read_number(policy + "/scaling_cur_freq"), 1000);
    clock.minimum_hz = times(files_.read_number(policy + "/scaling_min_freq"), 1000);
    clock.maximum_hz = times(files_.read_number(policy + "/scaling_max_freq"), 1000);
    return clock;
  }

  ClockReading read_devfreq(const std::string& device) const {
    ClockReading clock{
        .name = leaf_name(device), .processor = false, .governor = files_.read(device + "/governor").value_or("")};
    clock.current_hz = times(files_.read_number(device + "/cur_freq"), 1);
    clock.minimum_hz = times(files_.read_number(device + "/min_freq"), 1);
    clock.maximum_hz = times(files_.read_number(device + "/max_freq"), 1);
    // In thousandths; beside the devfreq folder's own files on some kernels, in the device's on others.
    for (const std::string& path : {device + "/load", device + "/device/load"}) {
      const auto load = files_.read_number(path);
      if (load && *load >= 0 && *load <= 1000) clock.load_percent = static_cast<double>(*load) / 10;
    }
    return clock;
  }

  // nvpmodel keeps the number of the mode in its status file, "pmode:0002", and the names in its configuration.
  std::string read_power_mode() const {
    constexpr std::string_view kStatus = "/var/lib/nvpmodel/status";
    constexpr std::string_view kKey = "pmode:";
    if (!files_.holds(kStatus)) return {};
    const std::string status = files_.read(kStatus).value_or("");
    if (!status.starts_with(kKey)) return {};
    const std::string_view digits = std::string_view(status).substr(kKey.size());
    const auto identity = parse_number(digits.substr(0, digits.find_first_not_of("0123456789")));
    if (!identity) return {};
    const bool named = files_.holds("/etc/nvpmodel.conf");
    return power_mode_name(named ? files_.read("/etc/nvpmodel.conf").value_or("") : "", *identity);
  }

  void read_fan(FrequencyReading& reading) const {
    for (const std::string& device : files_.list("/sys/class/thermal", "cooling_device")) {
      if (files_.read(device + "/type") == "pwm-fan") reading.fan_state = files_.read_number(device + "/cur_state");
    }
    for (const std::string& hwmon : files_.list("/sys/class/hwmon", "hwmon")) {
      if (files_.read(hwmon + "/name") == "pwmfan") reading.fan_rpm = files_.read_number(hwmon + "/fan1_input");
    }
  }

  SystemFiles files_;
};

}  // namespace

std::unique_ptr<FrequencySource> open_frequency_sources(SystemFiles files) {
  return std::make_unique<SystemFrequencySources>(std::move(files));
}

}  // namespace finch::agent
