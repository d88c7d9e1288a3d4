// The energy of an inference: the board's power while the model runs, and while the board idles before and after.
// Thread safe; but a board has one supply, so one measurement at a time means something.
#pragma once

#include <chrono>
#include <expected>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/error.hpp"
#include "agent/launch.hpp"
#include "agent/launch.pb.h"
#include "agent/measure_tier.hpp"
#include "agent/power_sensor.hpp"

namespace finch::agent {

// The launch that runs the model for plan.load.
LaunchRequest steady_request(const LaunchRequest& base, const EnergyPlan& plan, const WarmUpPlan& warm_up);

struct EnergyOutcome {
  std::optional<double> gross_mj{}, net_mj{};  // an inference; both or none
  PowerProvenance provenance = PowerProvenance::kExternal;
  SteadyResult run{};                 // the inferences, while the sampler ran
  std::vector<std::string> doubts{};  // why the figures are not to be trusted, or not there
};

// Launches `base` for plan.load, records `sensor` all the while in a thread of its own, and plan.idle before and after.
// gross: all that the board used, over the inferences; net: the same less what it uses idle. Neither is given when less
// than plan.coverage of one of the three times is covered by samples. `expected_ms` is the median latency without a
// sampler; a difference above `tolerance` (relative) is a doubt, unless the plan has a rate: pauses change the clocks.
// Errors: as of the launcher; stopped while idle (retryable).
std::expected<EnergyOutcome, Error> measure_energy(const LaunchRequest& base, const EnergyPlan& plan,
                                                   const WarmUpPlan& warm_up, PowerSensor& sensor, double expected_ms,
                                                   double tolerance, const Launcher& launcher,
                                                   const std::function<void(double)>& on_progress,
                                                   std::stop_token stop);

}  // namespace finch::agent
