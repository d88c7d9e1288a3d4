// A model in bad company: processors busy, memory short, the board hot; and how it fares from minute to minute. Thread
// safe; but two at once disturb each other.
#pragma once

#include <expected>
#include <functional>
#include <span>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/error.hpp"
#include "agent/launch.hpp"
#include "agent/launch.pb.h"
#include "agent/measure_tier.hpp"
#include "agent/system_files.hpp"
#include "protocol/farm.pb.h"

namespace finch::agent {

struct StabilityLaunches {
  LaunchRequest latency;  // a launch of rounds
  LaunchRequest steady;   // one long run
  double quiet_ms = 0;    // median latency in quiet
  double slope_celsius = MeasureLimits().slope_celsius;
};

struct StabilityOutcome {
  std::vector<protocol::Condition> conditions;
  std::vector<double> minute_median_ms;
};

// In this order: the curve; CPU load (a busy process on every core); memory pressure (a process that walks through
// plan.memory_share of what can be spared); heat soak (all cores busy for plan.soak, then free again). What the device
// does meanwhile, such as throttling, is a remark of the condition; so is a model that does not run there. `on_step`
// hears what is being done. Errors: a stop, a process that cannot be started; retryable.
std::expected<StabilityOutcome, Error> measure_stability(const StabilityLaunches& launches, const StabilityPlan& plan,
                                                         const SystemFiles& files, const Launcher& launcher,
                                                         const std::function<void(const std::string&)>& on_step,
                                                         const std::stop_token& stop);

// Medians of the latencies that began in each whole minute, or after the last whole one if that is half full. At a rate
// frame i begins at i / rate_hz; without (0) each begins as the one before ends.
std::vector<double> medians_by_minute(std::span<const double> latencies_ms, double rate_hz, Seconds minute);

}  // namespace finch::agent
