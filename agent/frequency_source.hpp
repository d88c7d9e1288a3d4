// The clocks of a board, who governs them, and what bounds them: power mode and fan. Thread safe.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/system_files.hpp"

namespace finch::agent {

struct ClockReading {
  std::string name;  // "policy0"; a devfreq device's name: "17000000.gpu"
  bool processor = true;
  std::string governor;  // empty: not readable
  std::optional<std::int64_t> current_hz{}, minimum_hz{}, maximum_hz{};
  // The hardware's own figure (root only), or what the governor asked for last.
  bool current_is_hardware = false;
  std::optional<double> load_percent{};
};

struct FrequencyReading {
  std::vector<ClockReading> clocks;
  std::string power_mode;                 // of nvpmodel: "MAXN", "mode 2"; empty: there is none
  std::optional<std::int64_t> fan_state;  // of the pwm-fan cooling device, 0 is off
  std::optional<std::int64_t> fan_rpm;
};

class FrequencySource {
 public:
  virtual ~FrequencySource() = default;
  virtual FrequencyReading read() const = 0;
};

// cpufreq, devfreq, nvpmodel and fan, as the machine has them.
std::unique_ptr<FrequencySource> open_frequency_sources(SystemFiles files);

}  // namespace finch::agent
