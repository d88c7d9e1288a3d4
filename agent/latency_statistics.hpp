// The statistics of a latency measurement. Pure functions; thread safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace finch::agent {

// REQUIRES: values is not empty. The mean of the two middle values for an even count.
double median(std::span<const double> values);

struct Interval {
  double low = 0;
  double median = 0;
  double high = 0;
};

// Distribution-free interval for the median: [x(k), x(n+1-k)] with the largest k for which 2 P(Bin(n, 1/2) < k) <=
// alpha (H. A. David, H. N. Nagaraja, "Order Statistics", 3rd ed., section 7.1). Nothing when n is too small for alpha:
// 6 values are needed for 0.05, 8 for 0.0125.
std::optional<Interval> median_interval(std::span<const double> values, double alpha);

// alpha for each of `looks` looks at growing data, so that all of them together err with at most `alpha` (Bonferroni).
double alpha_of_look(double alpha, int looks);

// log(candidate / reference), pair by pair. REQUIRES: equal sizes, values > 0.
std::vector<double> paired_log_ratios(std::span<const double> candidate, std::span<const double> reference);

// MLPerf LoadGen's early-stopping estimate of a percentile (mlcommons/inference, loadgen/early_stopping.cc and the
// appendix "Early Stopping" of the MLPerf inference rules): with t the largest number for which P(Bin(n, 1 -
// percentile)
// <= t) <= 1 - confidence, the t-th highest latency. With that confidence the true percentile is not above it.
// Nothing when t < 1: fewer queries than early_stopping_minimum_queries(). percentile, confidence in (0, 1).
std::optional<double> early_stopping_percentile(std::span<const double> latencies, double percentile,
                                                double confidence = 0.99);

// How many of the highest latencies may lie at or above the estimate: t above; 0 when `queries` do not suffice.
std::int64_t early_stopping_overlatency(std::int64_t queries, double percentile, double confidence = 0.99);

// 64 for the 90th and 662 for the 99th percentile at a confidence of 0.99.
std::int64_t early_stopping_minimum_queries(double percentile, double confidence = 0.99);

}  // namespace finch::agent
