// What sensors a board has and what they read now: `finch-agent probe`. Values and free functions; thread safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/board_power.hpp"
#include "agent/frequency_source.hpp"
#include "agent/power_sensor.hpp"
#include "agent/system_files.hpp"
#include "agent/thermal_sensor.hpp"
#include "agent/throttle_source.hpp"

namespace finch::agent {

struct ProbedRail {
  PowerProvenance provenance;
  RailReading reading;
};

struct ProbedTotal {
  double power_mw = 0;
  std::vector<std::string> rails;
  PowerProvenance provenance;
};

struct BoardProbe {
  std::string board;  // "Jetson AGX Orin", "Raspberry Pi 4 Model B Rev 1.4"; "unknown"
  std::vector<ProbedRail> rails;
  std::optional<ProbedTotal> total;  // absent: nothing here measures the whole, or not now
  std::vector<ThermalReading> thermal;
  ThrottleReading throttle;
  FrequencyReading frequencies;
  std::vector<std::string> warnings;  // what is there but cannot be read, and what a figure does not hold
};

// Reads each sensor once, which takes up to a second or two.
BoardProbe probe_board(const SystemFiles& files, const PowerSettings& settings);

std::string probe_json(const BoardProbe& probe);  // one line
std::string probe_text(const BoardProbe& probe);  // for people

}  // namespace finch::agent
