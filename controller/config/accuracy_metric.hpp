// The accuracies that a campaign may ask for, by name. Constant data; thread safe.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace finch::controller {

enum class Metric { top1, balanced_accuracy, macro_f1, worst_class_recall };

inline constexpr std::array kMetrics = {Metric::top1, Metric::balanced_accuracy, Metric::macro_f1,
                                        Metric::worst_class_recall};
inline constexpr std::array<const char*, 4> kMetricNames = {"top1", "balanced_accuracy", "macro_f1",
                                                            "worst_class_recall"};

constexpr const char* name_of(Metric metric) {
  return kMetricNames[static_cast<std::size_t>(metric)];
}

// "accuracy" is top1.
constexpr std::optional<Metric> metric_named(std::string_view name) {
  if (name == "accuracy") return Metric::top1;
  for (const Metric metric : kMetrics) {
    if (name == name_of(metric)) return metric;
  }
  return std::nullopt;
}

}  // namespace finch::controller
