// PowerSensor of any program that prints what a meter says: a smart plug, a power profiler. See PowerSensor.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/power_sensor.hpp"

namespace finch::agent {

// Starts `command` with sh and reads its lines "monotonic_ns watts", for instance "81234567890123 4.87": the time by
// CLOCK_MONOTONIC and the mean power since the line before. It runs as long as the sensor lives and is killed then.
// A line that is something else, or more than 10 s off the clock, is a problem of the next reading.
std::unique_ptr<PowerSensor> open_command_power(const std::string& command, PowerProvenance provenance);

struct PowerLine {
  std::chrono::nanoseconds at{};
  double watts = 0;
};

// Nothing: no such line. Watts are finite and within +-100,000.
std::optional<PowerLine> parse_power_line(std::string_view line);

}  // namespace finch::agent
