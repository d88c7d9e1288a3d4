#include "agent/power_sensor.hpp"

#include <time.h>

#include <algorithm>
#include <array>
#include <utility>

namespace finch::agent {
namespace {

constexpr std::array<std::pair<PowerProvenance, std::string_view>, 5> kNames{{
    {PowerProvenance::kWall, "wall"},
    {PowerProvenance::kExternal, "external"},
    {PowerProvenance::kRail, "rail"},
    {PowerProvenance::kPmicSum, "pmic-sum"},
    {PowerProvenance::kRapl, "rapl"},
}};

}  // namespace

std::string_view name_of(PowerProvenance provenance) {
  return std::ranges::find(kNames, provenance, [](const auto& entry) { return entry.first; })->second;
}

std::optional<PowerProvenance> find_provenance(std::string_view name) {
  const auto* found = std::ranges::find(kNames, name, [](const auto& entry) { return entry.second; });
  if (found == kNames.end()) return std::nullopt;
  return found->first;
}

std::optional<double> total_power_mw(const PowerReading& reading, std::span<const std::string> total_rails) {
  if (total_rails.empty()) return std::nullopt;
  double total = 0;
  for (const std::string& label : total_rails) {
    if (std::ranges::count(reading.rails, label, &RailReading::label) != 1) return std::nullopt;
    total += std::ranges::find(reading.rails, label, &RailReading::label)->power_mw;
  }
  return total;
}

std::chrono::nanoseconds monotonic_now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec);
}

}  // namespace finch::agent
