#include "agent/verdict.hpp"

#include <cmath>
#include <format>

namespace finch::agent {

Verdict judge(const Evidence& evidence) {
  std::vector<std::string> invalid = evidence.changes.invalidating;
  if (!evidence.signatures_agree) invalid.emplace_back("the model's output for a fixed input differs between launches");
  if (!evidence.outputs_finite) invalid.emplace_back("the model's output for a fixed input is not finite");

  std::vector<std::string> degraded = evidence.changes.degrading;
  if (!evidence.start_doubt.empty()) degraded.push_back(evidence.start_doubt);
  if (evidence.unsettled_launches > 0) {
    degraded.push_back(std::format("UNSTABLE: the latency did not settle in the warm-up of {} of {} launches",
                                   evidence.unsettled_launches, evidence.launches));
  }
  const auto limit = [&](const std::optional<double>& share, const char* what) {
    if (share && *share > evidence.limits.foreign_load)
      degraded.push_back(std::format("{}: {:.1f} %", what, 100 * *share));
  };
  limit(evidence.foreign_cpu, "other processes used the processor");
  limit(evidence.cpu_pressure, "tasks waited for the processor");
  limit(evidence.memory_pressure, "tasks waited for memory");
  limit(evidence.io_pressure, "tasks waited for the disk");
  if (!evidence.half_width) {
    degraded.emplace_back("too few rounds for an interval");
  } else if (*evidence.half_width > evidence.half_width_wanted) {
    degraded.push_back(std::format("interval not reached: ±{:.1f} % instead of ±{:.0f} %", 100 * *evidence.half_width,
                                   100 * evidence.half_width_wanted));
  }
  if (evidence.reference_off && std::abs(*evidence.reference_off) > evidence.limits.reference_drift) {
    degraded.push_back(
        std::format("the reference network is {:+.1f} % off this device's baseline: the device has "
                    "drifted; see finch devices calibrate",
                    100 * *evidence.reference_off));
  }
  if (evidence.second_session_difference &&
      std::abs(*evidence.second_session_difference) > evidence.limits.session_agreement) {
    degraded.push_back(
        std::format("the second session differs by {:+.1f} %", 100 * *evidence.second_session_difference));
  }

  degraded.insert(degraded.end(), evidence.energy_doubts.begin(), evidence.energy_doubts.end());

  Verdict verdict{.name = !invalid.empty()    ? "INVALID"
                          : !degraded.empty() ? "DEGRADED"
                                              : "VALID",
                  .reasons = std::move(invalid)};
  verdict.reasons.insert(verdict.reasons.end(), degraded.begin(), degraded.end());
  return verdict;
}

}  // namespace finch::agent
