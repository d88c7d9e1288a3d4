#include "controller/campaign/constraints.hpp"

#include <algorithm>
#include <random>

namespace finch::controller {
namespace {

constexpr int kSample = 2000;  // a decode takes microseconds

}  // namespace

double excess_over(const ConstraintConfig& limits, const search::Cost& cost) {
  const auto excess = [](const std::optional<double>& limit, double value) {
    return limit ? std::max(0.0, value / *limit - 1) : 0;
  };
  return excess(limits.parameters, static_cast<double>(cost.parameters)) +
         excess(limits.macs, static_cast<double>(cost.macs)) +
         excess(limits.memory_mb, static_cast<double>(cost.peak_activation_bytes) / (1 << 20));
}

bool keeps(const ConstraintConfig& limits, const search::Cost& cost) {
  return excess_over(limits, cost) == 0;
}

bool keeps(const ConstraintConfig& limits, const search::SearchSpace& space, const search::Genotype& genotype) {
  const auto network = space.decode(genotype);
  return network && keeps(limits, search::cost_of(*network));
}

double shortfall_of(const ConstraintConfig& limits, const Accuracies& accuracies) {
  double sum = 0;
  for (const Metric metric : kMetrics) {
    const double least = limits.min(metric).value_or(0);
    if (least > 0) sum += std::max(0.0, 1 - accuracies[metric].value_or(0) / least);
  }
  return sum;
}

std::optional<SpaceExtremes> extremes_within(const ConstraintConfig& limits, const search::SearchSpace& space) {
  std::optional<SpaceExtremes> extremes;
  std::int64_t fewest = 0, most = 0;
  const auto consider = [&](const search::Genotype& genotype) {
    const auto network = space.decode(genotype);
    if (!network) return;
    const search::Cost cost = search::cost_of(*network);
    if (!keeps(limits, cost)) return;
    if (!extremes) {
      extremes = {genotype, genotype};
      fewest = most = cost.macs;
    }
    if (cost.macs < fewest) extremes->smallest = genotype;
    if (cost.macs > most) extremes->largest = genotype;
    fewest = std::min(fewest, cost.macs);
    most = std::max(most, cost.macs);
  };
  consider(space.smallest());
  consider(space.largest());
  const bool exact = extremes && extremes->largest == space.largest() && extremes->smallest == space.smallest();
  if (exact) return extremes;
  std::mt19937_64 generator(1);
  for (int i = 0; i < kSample; ++i) consider(space.random(generator));
  return extremes;
}

}  // namespace finch::controller
