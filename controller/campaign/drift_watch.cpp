#include "controller/campaign/drift_watch.hpp"

#include <cmath>
#include <format>

namespace finch::controller {
namespace {

double ratio_low(const protocol::Measurement& m) {
  return m.has_reference_ratio_ci_low() ? m.reference_ratio_ci_low() : m.reference_ratio_median();
}
double ratio_high(const protocol::Measurement& m) {
  return m.has_reference_ratio_ci_high() ? m.reference_ratio_ci_high() : m.reference_ratio_median();
}

}  // namespace

const char* name_of(Drift drift) {
  switch (drift) {
    case Drift::model:
      return "model";
    case Drift::device:
      return "device";
    case Drift::epoch:
      return "epoch";
    case Drift::failed:
      return "failed";
    case Drift::none:
      break;
  }
  return "";
}

DriftFinding find_drift(const protocol::Measurement& baseline, const protocol::Measurement& now) {
  if (now.device_state_hash() != baseline.device_state_hash()) {
    const std::string runtime = now.runtime().version() == baseline.runtime().version()
                                    ? ""
                                    : std::format(" ({} {} -> {})", now.runtime().name(), baseline.runtime().version(),
                                                  now.runtime().version());
    return {Drift::epoch, std::format("the device is in another state than at the baseline{}: {:.4g} ms instead of "
                                      "{:.4g} ms; this is the baseline of its new epoch",
                                      runtime, now.latency_median_ms(), baseline.latency_median_ms())};
  }
  const double ratio = now.reference_ratio_median();
  if (ratio > (1 + kDriftTolerance) * ratio_high(baseline) || ratio < (1 - kDriftTolerance) * ratio_low(baseline)) {
    return {
        Drift::model,
        std::format("it takes {:.4g} times the reference network, {:+.1f} % off the baseline's {:.4g} [{:.4g}, {:.4g}]",
                    ratio, 100 * (ratio / baseline.reference_ratio_median() - 1), baseline.reference_ratio_median(),
                    ratio_low(baseline), ratio_high(baseline))};
  }
  const double usual = now.baseline_ms() > 0 ? now.baseline_ms() : baseline.reference_median_ms();
  const double off = now.reference_median_ms() / usual - 1;
  if (std::abs(off) > kDriftTolerance) {
    return {Drift::device, std::format("the reference network takes {:.4g} ms there, {:+.1f} % off the {:.4g} ms when "
                                       "all was well",
                                       now.reference_median_ms(), 100 * off, usual)};
  }
  return {Drift::none, std::format("{:.4g} ms, {:+.1f} % in multiples of the reference network",
                                   now.latency_median_ms(), 100 * (ratio / baseline.reference_ratio_median() - 1))};
}

}  // namespace finch::controller
