// A source of power readings: a chip on the board, a counter of the processor, a meter beside it. One thread at a time
// for each object. Fakes are programs that print watts (see command_power.hpp).
#pragma once

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace finch::agent {

// Where a figure comes from. It is part of every energy: a sum of rails is not what a meter in the wall says.
enum class PowerProvenance {
  kWall,      // at the mains, with the loss of the power supply
  kExternal,  // a meter in the board's supply line
  kRail,      // rails that the board measures itself
  kPmicSum,   // the rails of a Raspberry Pi 5's power chip: less than its input
  kRapl,      // the processor's own counter, partly an estimate
};

// "wall", "external", "rail", "pmic-sum", "rapl".
std::string_view name_of(PowerProvenance provenance);
std::optional<PowerProvenance> find_provenance(std::string_view name);

struct RailReading {
  std::string label;
  double power_mw = 0;
  std::optional<double> resolution_mw;  // the smallest step at this voltage; absent: not documented
};

struct PowerReading {
  std::chrono::nanoseconds at{};  // CLOCK_MONOTONIC
  std::vector<RailReading> rails;
  std::vector<std::string> problems;  // rails that are there and gave no value, and why
};

class PowerSensor {
 public:
  virtual ~PowerSensor() = default;
  virtual PowerProvenance provenance() const = 0;
  // The rails whose sum is the whole that this sensor measures. Empty: it measures parts only.
  virtual const std::vector<std::string>& total_rails() const = 0;
  // Blocks for up to a second: chips take milliseconds, counters need some time between two readings.
  virtual PowerReading read() = 0;
  // How long to wait between readings; 0: read() itself waits for the next value.
  virtual std::chrono::milliseconds period() const { return std::chrono::milliseconds(50); }
};

// The sum over `total_rails`. Nothing: there are none, or one of them gave no value, or two have one name.
std::optional<double> total_power_mw(const PowerReading& reading, std::span<const std::string> total_rails);

std::chrono::nanoseconds monotonic_now();

}  // namespace finch::agent
