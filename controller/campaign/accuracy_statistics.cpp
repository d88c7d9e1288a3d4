#include "controller/campaign/accuracy_statistics.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numbers>
#include <numeric>
#include <random>

namespace finch::controller {
namespace {

constexpr double kZ = 1.959963984540054;  // 97.5 % of the normal distribution
constexpr int kResamplings = 1000;

// Of `count` images, each of which falls into a cell by its share: cell by cell, each binomial in what is left.
Confusion resample(const Confusion& confusion, std::int64_t images, std::mt19937_64& generator) {
  Confusion drawn;
  std::int64_t left = images, left_in_cells = images;
  for (const auto& [pair, count] : confusion) {
    if (left == 0) break;
    const double share = std::min(1.0, static_cast<double>(count) / static_cast<double>(left_in_cells));
    const std::int64_t here = std::binomial_distribution<std::int64_t>(left, share)(generator);
    if (here > 0) drawn[pair] = here;
    left -= here;
    left_in_cells -= count;
  }
  return drawn;
}

// Binomial probability of `successes` among `trials` fair coins.
double fair_coin(std::int64_t trials, std::int64_t successes) {
  const auto n = static_cast<double>(trials), k = static_cast<double>(successes);
  return std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1) - n * std::numbers::ln2);
}

}  // namespace

Interval wilson_interval(double right, std::int64_t samples) {
  assert(samples > 0);
  const auto n = static_cast<double>(samples);
  const double share = right / n, z2 = kZ * kZ;
  const double middle = share + z2 / (2 * n);
  const double half = kZ * std::sqrt(share * (1 - share) / n + z2 / (4 * n * n));
  return {std::max(0.0, (middle - half) / (1 + z2 / n)), std::min(1.0, (middle + half) / (1 + z2 / n))};
}

Interval bootstrap_interval(Metric metric, const Confusion& confusion) {
  const std::int64_t images = std::accumulate(confusion.begin(), confusion.end(), std::int64_t{0},
                                              [](std::int64_t sum, const auto& cell) { return sum + cell.second; });
  std::mt19937_64 generator(1);
  std::vector<double> values;
  for (int i = 0; i < kResamplings; ++i) values.push_back(value_of(metric, resample(confusion, images, generator)));
  std::ranges::sort(values);
  const auto outside = static_cast<std::size_t>(0.025 * kResamplings);
  return {values[outside], values[values.size() - 1 - outside]};
}

double mcnemar_exact_p(std::int64_t only_first, std::int64_t only_second) {
  const std::int64_t differing = only_first + only_second;
  double tail = 0;
  for (std::int64_t i = 0; i <= std::min(only_first, only_second); ++i) tail += fair_coin(differing, i);
  return std::min(1.0, 2 * tail);
}

double mcnemar_mid_p(std::int64_t only_first, std::int64_t only_second) {
  if (only_first == only_second) return 1 - (only_first == 0 ? 0 : fair_coin(2 * only_first, only_first) / 2);
  return mcnemar_exact_p(only_first, only_second) - fair_coin(only_first + only_second, only_first);
}

double paired_p(const std::vector<bool>& first_right, const std::vector<bool>& second_right) {
  assert(first_right.size() == second_right.size());
  std::int64_t only_first = 0, only_second = 0;
  for (std::size_t i = 0; i < first_right.size(); ++i) {
    only_first += first_right[i] && !second_right[i];
    only_second += second_right[i] && !first_right[i];
  }
  return mcnemar_mid_p(only_first, only_second);
}

std::vector<double> holm(std::span<const double> p) {
  std::vector<std::size_t> order(p.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return p[i]; });
  std::vector<double> adjusted(p.size());
  double greatest = 0;
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    greatest = std::max(greatest, std::min(1.0, static_cast<double>(p.size() - rank) * p[order[rank]]));
    adjusted[order[rank]] = greatest;
  }
  return adjusted;
}

}  // namespace finch::controller
