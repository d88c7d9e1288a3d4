#include "agent/latency_statistics.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <functional>

namespace finch::agent {
namespace {

// log P(Bin(n, p) = k); exact enough far into the tails, where the probability itself underflows.
double log_binomial(std::int64_t k, std::int64_t n, double p) {
  const auto kd = static_cast<double>(k);
  const auto nd = static_cast<double>(n);
  return std::lgamma(nd + 1) - std::lgamma(kd + 1) - std::lgamma(nd - kd + 1) + kd * std::log(p) +
         (nd - kd) * std::log1p(-p);
}

}  // namespace

double median(std::span<const double> values) {
  assert(!values.empty());
  std::vector<double> sorted(values.begin(), values.end());
  const auto middle = sorted.begin() + static_cast<std::ptrdiff_t>(sorted.size() / 2);
  std::ranges::nth_element(sorted, middle);
  if (sorted.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(sorted.begin(), middle)) / 2;
}

std::optional<Interval> median_interval(std::span<const double> values, double alpha) {
  const auto n = static_cast<std::int64_t>(values.size());
  if (n == 0) return std::nullopt;
  std::int64_t k = 0;
  double tail = 0;  // P(Bin(n, 1/2) < k)
  while (k < (n + 1) / 2) {
    tail += std::exp(log_binomial(k, n, 0.5));
    if (2 * tail > alpha) break;
    ++k;
  }
  if (k == 0) return std::nullopt;
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  return Interval{sorted[static_cast<std::size_t>(k - 1)], median(sorted), sorted[static_cast<std::size_t>(n - k)]};
}

double alpha_of_look(double alpha, int looks) {
  assert(looks > 0);
  return alpha / looks;
}

std::vector<double> paired_log_ratios(std::span<const double> candidate, std::span<const double> reference) {
  assert(candidate.size() == reference.size());
  std::vector<double> ratios;
  ratios.reserve(candidate.size());
  for (std::size_t i = 0; i < candidate.size(); ++i) ratios.push_back(std::log(candidate[i] / reference[i]));
  return ratios;
}

std::int64_t early_stopping_overlatency(std::int64_t queries, double percentile, double confidence) {
  // LoadGen asks for the regularized incomplete beta function I_percentile(h, t + 1) <= 1 - confidence, h = queries -
  // t; that is the binomial distribution function at t.
  double cumulative = 0;
  std::int64_t t = 0;
  for (; t <= queries; ++t) {
    cumulative += std::exp(log_binomial(t, queries, 1 - percentile));
    if (cumulative > 1 - confidence) break;
  }
  return std::max<std::int64_t>(t - 1, 0);
}

std::optional<double> early_stopping_percentile(std::span<const double> latencies, double percentile,
                                                double confidence) {
  const std::int64_t t =
      early_stopping_overlatency(static_cast<std::int64_t>(latencies.size()), percentile, confidence);
  if (t < 1) return std::nullopt;
  std::vector<double> sorted(latencies.begin(), latencies.end());
  const auto estimate = sorted.begin() + static_cast<std::ptrdiff_t>(t - 1);
  std::ranges::nth_element(sorted, estimate, std::greater{});
  return *estimate;
}

std::int64_t early_stopping_minimum_queries(double percentile, double confidence) {
  std::int64_t queries = 1;
  while (early_stopping_overlatency(queries, percentile, confidence) < 1) ++queries;
  return queries;
}

}  // namespace finch::agent
