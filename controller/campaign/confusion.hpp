// Which class was taken for which, and the accuracies that follow from it. Plain values and pure functions; thread
// safe.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>

#include "controller/config/accuracy_metric.hpp"

namespace finch::controller {

// Images by {label, prediction}; pairs without any are left out.
using Confusion = std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t>;

// REQUIRES: as many labels as predictions.
Confusion confusion_of(std::span<const std::int32_t> labels, std::span<const std::int32_t> predictions);

// All in 0..1:
//   top1                share of the images that were told right
//   balanced_accuracy   mean recall of the classes that have images
//   macro_f1            mean F1 of the classes that have images or were told
//   worst_class_recall  least recall of the classes that have images
// REQUIRES: not empty.
double value_of(Metric metric, const Confusion& confusion);

// Values of all metrics, in the order of kMetrics.
class Accuracies {
 public:
  // Nothing but top1 is known, as of a result of an earlier Finch.
  explicit Accuracies(double top1) { values_[0] = top1; }
  explicit Accuracies(const Confusion& confusion);

  double top1() const { return *values_[0]; }
  // 0..1; none: not known.
  std::optional<double> operator[](Metric metric) const { return values_[static_cast<std::size_t>(metric)]; }

 private:
  std::array<std::optional<double>, kMetrics.size()> values_;
};

}  // namespace finch::controller
