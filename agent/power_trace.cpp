#include "agent/power_trace.hpp"

#include <algorithm>
#include <vector>

#include "agent/latency_statistics.hpp"

namespace finch::agent {
namespace {

constexpr double kNeverAGapSeconds = 0.1;

double seconds_between(std::chrono::nanoseconds from, std::chrono::nanoseconds to) {
  return std::chrono::duration<double>(to - from).count();
}

double longest_without_gap(std::span<const PowerSample> samples) {
  std::vector<double> distances;
  for (std::size_t i = 1; i < samples.size(); ++i) {
    distances.push_back(seconds_between(samples[i - 1].at, samples[i].at));
  }
  return std::max(2 * median(distances), kNeverAGapSeconds);
}

double power_at(const PowerSample& left, const PowerSample& right, std::chrono::nanoseconds at) {
  const double share = seconds_between(left.at, at) / seconds_between(left.at, right.at);
  return left.power_mw + share * (right.power_mw - left.power_mw);
}

}  // namespace

std::optional<WindowEnergy> integrate_power(std::span<const PowerSample> samples, TimeWindow window) {
  const double length = seconds_between(window.begin, window.end);
  if (samples.size() < 2 || length <= 0) return std::nullopt;
  const double gap = longest_without_gap(samples);
  double energy_mj = 0;
  double integrated = 0;
  double covered = 0;
  for (std::size_t i = 1; i < samples.size(); ++i) {
    const PowerSample& left = samples[i - 1];
    const PowerSample& right = samples[i];
    const auto begin = std::max(left.at, window.begin);
    const auto end = std::min(right.at, window.end);
    const double seconds = seconds_between(begin, end);
    if (seconds <= 0) continue;
    energy_mj += seconds * (power_at(left, right, begin) + power_at(left, right, end)) / 2;
    integrated += seconds;
    if (seconds_between(left.at, right.at) <= gap) covered += seconds;
  }
  if (integrated <= 0) return std::nullopt;
  const double mean = energy_mj / integrated;
  return WindowEnergy{.energy_mj = mean * length, .mean_mw = mean, .coverage = covered / length};
}

}  // namespace finch::agent
