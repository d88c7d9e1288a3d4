// What a power sensor said over time, and the energy of a piece of it. Pure functions and values; thread safe.
#pragma once

#include <chrono>
#include <optional>
#include <span>

namespace finch::agent {

struct PowerSample {
  std::chrono::nanoseconds at{};  // CLOCK_MONOTONIC
  double power_mw = 0;
};

struct TimeWindow {
  std::chrono::nanoseconds begin{}, end{};
};

struct WindowEnergy {
  double energy_mj = 0;
  double mean_mw = 0;
  // The share of the window that lies between two samples which are no gap: at most twice as far from one another as
  // samples of this trace mostly are (their median distance), or at most 0.1 s: a steady load does not change faster
  // than that, so that a fast meter on a busy machine may be late.
  double coverage = 0;
};

// Trapezoids between the samples, cut at the edges of the window; where an edge lies beyond the samples, the mean
// stands for the rest. REQUIRES: ascending times. Nothing: the window is empty or no two samples reach into it.
std::optional<WindowEnergy> integrate_power(std::span<const PowerSample> samples, TimeWindow window);

}  // namespace finch::agent
