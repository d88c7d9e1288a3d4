#include "agent/latency_statistics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

namespace finch::agent {
namespace {

std::vector<double> one_to(int n) {
  std::vector<double> values(static_cast<std::size_t>(n));
  std::iota(values.begin(), values.end(), 1.0);
  std::ranges::shuffle(values, std::mt19937(7));
  return values;
}

TEST(Median, IsTheMiddleOrTheMeanOfTheTwoInTheMiddle) {
  EXPECT_EQ(median(std::vector{3.0}), 3.0);
  EXPECT_EQ(median(std::vector{9.0, 1.0, 2.0}), 2.0);
  EXPECT_EQ(median(std::vector{4.0, 1.0, 3.0, 100.0}), 3.5);
}

// Ranks from the tables of the sign test: P(Bin(n, 1/2) < k) for 12 is 13/4096 at k = 2 and 79/4096 at k = 3.
TEST(MedianInterval, TakesTheRanksOfTheSignTest) {
  const auto twelve = median_interval(one_to(12), 0.05);
  ASSERT_TRUE(twelve);
  EXPECT_EQ(twelve->low, 3);
  EXPECT_EQ(twelve->median, 6.5);
  EXPECT_EQ(twelve->high, 10);
  const auto strict = median_interval(one_to(12), 0.0125);
  ASSERT_TRUE(strict);
  EXPECT_EQ(strict->low, 2);
  EXPECT_EQ(strict->high, 11);
  const auto twenty = median_interval(one_to(20), 0.05);
  ASSERT_TRUE(twenty);
  EXPECT_EQ(twenty->low, 6);
  EXPECT_EQ(twenty->high, 15);
  const auto thirty = median_interval(one_to(30), 0.05);
  ASSERT_TRUE(thirty);
  EXPECT_EQ(thirty->low, 10);
  EXPECT_EQ(thirty->high, 21);
}

TEST(MedianInterval, NeedsEnoughValues) {
  EXPECT_FALSE(median_interval({}, 0.05));
  EXPECT_FALSE(median_interval(one_to(5), 0.05));
  EXPECT_TRUE(median_interval(one_to(6), 0.05));
  EXPECT_FALSE(median_interval(one_to(7), 0.0125));
  EXPECT_TRUE(median_interval(one_to(8), 0.0125));
}

// Of many samples from a skewed distribution with a known median, at least 95 % of the intervals hold it, and not so
// many more that the interval would be idle: the exact coverage at n = 12 is 96.1 %.
TEST(MedianInterval, CoversTheTrueMedianAtItsRate) {
  std::mt19937_64 random(1);
  std::lognormal_distribution<double> skewed(0.0, 1.0);
  constexpr int kTrials = 4000;
  int covered = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> sample(12);
    for (double& value : sample) value = skewed(random);
    const auto interval = median_interval(sample, 0.05);
    ASSERT_TRUE(interval);
    if (interval->low <= 1.0 && 1.0 <= interval->high) ++covered;
  }
  const double coverage = static_cast<double>(covered) / kTrials;
  EXPECT_GE(coverage, 0.95);
  EXPECT_LE(coverage, 0.975);
}

// Looking at 12, 20, 30 and 60 values and stopping as soon as one likes errs no more often than promised.
TEST(MedianInterval, SplitAlphaHoldsOverAllLooks) {
  std::mt19937_64 random(2);
  std::normal_distribution<double> noise(0.0, 1.0);
  constexpr int kTrials = 2000;
  int missed = 0;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> sample(60);
    for (double& value : sample) value = noise(random);
    bool any = false;
    for (const std::size_t look : {12U, 20U, 30U, 60U}) {
      const auto interval = median_interval(std::span(sample).first(look), alpha_of_look(0.05, 4));
      ASSERT_TRUE(interval);
      any = any || interval->low > 0 || interval->high < 0;
    }
    missed += any ? 1 : 0;
  }
  EXPECT_LE(static_cast<double>(missed) / kTrials, 0.05);
  EXPECT_GT(missed, 0);
}

TEST(PairedLogRatios, CancelCommonDrift) {
  const std::vector<double> drift{1.0, 1.3, 0.8, 2.0};
  std::vector<double> candidate;
  std::vector<double> reference;
  for (const double factor : drift) {
    candidate.push_back(6 * factor);
    reference.push_back(2 * factor);
  }
  for (const double ratio : paired_log_ratios(candidate, reference)) EXPECT_NEAR(ratio, std::log(3.0), 1e-12);
}

// The minimum query counts of MLPerf's inference rules for a confidence of 99 %.
TEST(EarlyStopping, NeedsTheQueriesOfTheRules) {
  EXPECT_EQ(early_stopping_minimum_queries(0.90), 64);
  EXPECT_EQ(early_stopping_minimum_queries(0.99), 662);
  EXPECT_FALSE(early_stopping_percentile(one_to(63), 0.90));
  EXPECT_FALSE(early_stopping_percentile(one_to(661), 0.99));
}

TEST(EarlyStopping, BeginsWithTheHighestLatencyAndMovesDown) {
  EXPECT_EQ(early_stopping_percentile(one_to(64), 0.90), 64);
  EXPECT_EQ(early_stopping_percentile(one_to(662), 0.99), 662);
  // P(Bin(1024, 0.1) <= t) <= 0.01 holds up to t = 80: the 80th highest of 1024.
  EXPECT_EQ(early_stopping_overlatency(1024, 0.90), 80);
  EXPECT_EQ(early_stopping_percentile(one_to(1024), 0.90), 1024 - 80 + 1);
}

TEST(EarlyStopping, NeedsMoreQueriesForMoreOverlatency) {
  std::int64_t last = 0;
  for (std::int64_t queries = 1; queries < 3000; queries += 7) {
    const std::int64_t t = early_stopping_overlatency(queries, 0.90);
    EXPECT_GE(t, last);
    EXPECT_LE(static_cast<double>(t), 0.1 * static_cast<double>(queries));
    last = t;
  }
}

TEST(EarlyStopping, ApproachesTheTruePercentileWithManyQueries) {
  const std::int64_t queries = 2'000'000;
  const auto t = static_cast<double>(early_stopping_overlatency(queries, 0.99));
  EXPECT_LT(t / queries, 0.01);
  EXPECT_GT(t / queries, 0.0097);
}

TEST(EarlyStopping, IsSeldomBelowTheTruePercentile) {
  std::mt19937_64 random(3);
  std::exponential_distribution<double> latency(1.0);
  const double true_p90 = -std::log(0.1);
  int below = 0;
  constexpr int kTrials = 2000;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> sample(200);
    for (double& value : sample) value = latency(random);
    if (*early_stopping_percentile(sample, 0.90) < true_p90) ++below;
  }
  EXPECT_LE(static_cast<double>(below) / kTrials, 0.015);
}

}  // namespace
}  // namespace finch::agent
