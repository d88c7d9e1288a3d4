// Whether a measurement may be believed. Pure functions and values; thread safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "agent/device_state.hpp"
#include "agent/measure_tier.hpp"

namespace finch::agent {

struct Verdict {
  std::string name;  // "VALID", "DEGRADED", "INVALID"
  std::vector<std::string> reasons;
};

struct Evidence {
  MeasureLimits limits{};
  StateChanges changes{};
  std::string start_doubt{};  // why it did not begin as cool as the device was when it was calibrated; empty: it did
  bool signatures_agree = true;
  bool outputs_finite = true;
  int unsettled_launches = 0;  // warm-up ran into its cap
  int launches = 0;
  // While the blocks ran, over all launches; absent: the machine does not tell.
  std::optional<double> foreign_cpu{}, cpu_pressure{}, memory_pressure{}, io_pressure{};
  std::optional<double> half_width{};  // of the interval of the log-ratio; absent: too few rounds for one
  double half_width_wanted = 0.01;
  std::vector<std::string> energy_doubts{};
  std::optional<double> reference_off{};  // of the reference network from the device's baseline; absent: none is known
  std::optional<double> second_session_difference{};  // relative; absent: no second session in this tier
};

// INVALID when anything changed what was measured, DEGRADED when it was disturbed or is not precise enough, VALID
// otherwise. Reasons for both are listed, the grave ones first.
Verdict judge(const Evidence& evidence);

}  // namespace finch::agent
