#include "controller/campaign/confusion.hpp"

#include <algorithm>
#include <cassert>

namespace finch::controller {
namespace {

struct ClassCounts {
  std::int64_t images = 0, told = 0, right = 0;

  double recall() const { return static_cast<double>(right) / static_cast<double>(images); }
  double f1() const { return 2 * static_cast<double>(right) / static_cast<double>(images + told); }
};

}  // namespace

Confusion confusion_of(std::span<const std::int32_t> labels, std::span<const std::int32_t> predictions) {
  assert(labels.size() == predictions.size());
  Confusion confusion;
  for (std::size_t i = 0; i < labels.size(); ++i) ++confusion[{labels[i], predictions[i]}];
  return confusion;
}

double value_of(Metric metric, const Confusion& confusion) {
  std::map<std::int32_t, ClassCounts> classes;
  std::int64_t images = 0, right = 0;
  for (const auto& [pair, count] : confusion) {
    const auto& [label, prediction] = pair;
    classes[label].images += count;
    classes[prediction].told += count;
    images += count;
    if (label != prediction) continue;
    classes[label].right += count;
    right += count;
  }
  assert(images > 0);
  if (metric == Metric::top1) return static_cast<double>(right) / static_cast<double>(images);
  double sum = 0, worst = 1;
  int counted = 0;
  for (const auto& [label, counts] : classes) {
    if (metric == Metric::macro_f1) {
      if (counts.images + counts.told == 0) continue;
      sum += counts.f1();
    } else {
      if (counts.images == 0) continue;
      sum += counts.recall();
      worst = std::min(worst, counts.recall());
    }
    ++counted;
  }
  return metric == Metric::worst_class_recall ? worst : sum / counted;
}

Accuracies::Accuracies(const Confusion& confusion) {
  for (const Metric metric : kMetrics) values_[static_cast<std::size_t>(metric)] = value_of(metric, confusion);
}

}  // namespace finch::controller
