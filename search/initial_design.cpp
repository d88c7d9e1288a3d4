#include "search/initial_design.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "search/cost_model.hpp"
#include "search/variation.hpp"

namespace finch::search {
namespace {

constexpr int kSamples = 64;
constexpr int kProbes = 256;

// 1/2, 1/4, 3/4, 1/8, 5/8, ... (van der Corput): any prefix is spread evenly.
double van_der_corput(std::size_t index) {
  double value = 0, weight = 0.5;
  for (; index > 0; index /= 2, weight /= 2) value += weight * static_cast<double>(index % 2);
  return value;
}

}  // namespace

Genotype near_level(const SearchSpace& space, double level, std::mt19937_64& generator) {
  Genotype genotype;
  for (const Decision& decision : space.decisions()) {
    double noise = -0.75;  // about normal, sigma 0.25
    for (int i = 0; i < 3; ++i) noise += 0.5 * uniform(generator);
    const double top = static_cast<double>(decision.choices.size() - 1);
    genotype.push_back(static_cast<int>(std::lround(std::clamp(level + noise, 0.0, 1.0) * top)));
  }
  return space.canonical(genotype);
}

double InitialDesign::cost(const Genotype& genotype) const {
  if (const auto network = space_.decode(genotype))
    return std::log(static_cast<double>(std::max<std::int64_t>(1, cost_of(*network).macs)));
  double sum = 0;
  for (std::size_t i = 0; i < genotype.size(); ++i)
    sum += genotype[i] / std::max(1.0, static_cast<double>(space_.decisions()[i].choices.size() - 1));
  return sum;
}

double InitialDesign::greatest_cost(std::mt19937_64& generator) {
  if (!greatest_) {
    greatest_ = cost(space_.smallest());
    for (int i = 0; i < kProbes; ++i) {
      const Genotype genotype = i == 0 ? space_.largest() : near_level(space_, uniform(generator), generator);
      if (is_new_(genotype)) greatest_ = std::max(*greatest_, cost(genotype));
    }
  }
  return *greatest_;
}

std::optional<Genotype> InitialDesign::next(std::mt19937_64& generator) {
  const std::size_t index = index_++;
  if (index == 0 && is_new_(space_.smallest())) return space_.smallest();
  if (index == 1 && is_new_(space_.largest())) return space_.largest();
  const double low = cost(space_.smallest()), high = greatest_cost(generator);
  const double target = low + (high - low) * (index == 1 ? 1 : van_der_corput(std::max<std::size_t>(index, 1) - 1));
  std::optional<Genotype> best;
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < kSamples; ++i) {
    Genotype genotype = near_level(space_, uniform(generator), generator);
    if (!is_new_(genotype)) continue;
    const double distance = std::abs(cost(genotype) - target);
    if (distance < least) {
      least = distance;
      best = std::move(genotype);
    }
  }
  return best;
}

}  // namespace finch::search
