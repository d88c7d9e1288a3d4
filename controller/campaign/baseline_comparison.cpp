#include "controller/campaign/baseline_comparison.hpp"

#include <format>

namespace finch::controller {
namespace {

// "a", "a and b", "a, b and c"
std::string enumerated(const std::vector<std::string>& parts) {
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i)
    text += (i == 0 ? "" : i + 1 == parts.size() ? " and " : ", ") + parts[i];
  return text;
}

void find_rival(const std::vector<FrontModel>& front, BaselineInfo& baseline) {
  const MeasurementInfo& own = baseline.file.measurements.front();
  const MeasurementInfo* best = nullptr;
  for (const FrontModel& model : front) {
    for (const ModelFile& file : model.files) {
      if (!file.accuracy || file.measurements.empty() || file.accuracy->top1 < baseline.file.accuracy->top1) continue;
      const MeasurementInfo& measurement = file.measurements.front();
      if (best != nullptr && compared_latency(*best).median_ms <= compared_latency(measurement).median_ms) continue;
      best = &measurement;
      baseline.rival = model.id;
      baseline.rival_precision = file.precision;
    }
  }
  if (best == nullptr) return;
  baseline.speedup = compared_latency(own).median_ms / compared_latency(*best).median_ms;
  baseline.faster = compared_latency(*best).ci_high_ms < compared_latency(own).ci_low_ms;
}

}  // namespace

std::string compare_with_baselines(const std::vector<FrontModel>& front, std::vector<BaselineInfo>& baselines) {
  std::vector<std::string> beaten, unbeaten, unknown;
  for (BaselineInfo& baseline : baselines) {
    if (!baseline.file.accuracy || baseline.file.measurements.empty()) {
      unknown.push_back(baseline.name);
      continue;
    }
    find_rival(front, baseline);
    if (baseline.faster) {
      beaten.push_back(std::format("{:.2f} x faster than {}", baseline.speedup, baseline.name));
    } else {
      unbeaten.push_back(baseline.name);
    }
  }
  std::string text;
  if (!beaten.empty()) text = "With at least the same test accuracy the front is " + enumerated(beaten) + ".";
  if (!unbeaten.empty()) {
    text += std::format("{}Nothing {} beats {}.", text.empty() ? "" : " ", beaten.empty() ? "on the front" : "on it",
                        enumerated(unbeaten));
  }
  if (!unknown.empty()) {
    text += std::format("{}No accuracy is known of {} on these images.", text.empty() ? "" : " ", enumerated(unknown));
  }
  return text;
}

}  // namespace finch::controller
