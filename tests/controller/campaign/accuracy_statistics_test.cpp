#include "controller/campaign/accuracy_statistics.hpp"

#include <gtest/gtest.h>

#include <random>

namespace finch::controller {
namespace {

TEST(WilsonIntervalTest, KnownValues) {
  // R: prop.test(x, n, correct = FALSE).
  const Interval half = wilson_interval(5, 10);
  EXPECT_NEAR(half.low, 0.236593, 1e-6);
  EXPECT_NEAR(half.high, 0.763407, 1e-6);
  const Interval all = wilson_interval(10, 10);
  EXPECT_NEAR(all.low, 0.722467, 1e-6);
  EXPECT_NEAR(all.high, 1, 1e-12);
  const Interval none = wilson_interval(0, 10);
  EXPECT_NEAR(none.low, 0, 1e-12);
  EXPECT_NEAR(none.high, 0.277533, 1e-6);
}

TEST(WilsonIntervalTest, CoversTheTruthAboutNineteenTimesInTwenty) {
  std::mt19937_64 generator(7);
  for (const double truth : {0.5, 0.9, 0.98}) {
    int covered = 0;
    for (int i = 0; i < 2000; ++i) {
      const auto right = static_cast<double>(std::binomial_distribution<int>(500, truth)(generator));
      const Interval interval = wilson_interval(right, 500);
      covered += interval.low <= truth && truth <= interval.high;
    }
    EXPECT_NEAR(covered / 2000.0, 0.95, 0.02) << truth;
  }
}

TEST(BootstrapIntervalTest, AgreesWithWilsonOfAShare) {
  const Confusion confusion = {{{0, 0}, 450}, {{0, 1}, 50}, {{1, 1}, 400}, {{1, 0}, 100}};
  const Interval bootstrap = bootstrap_interval(Metric::top1, confusion), wilson = wilson_interval(850, 1000);
  EXPECT_NEAR(bootstrap.low, wilson.low, 0.003);
  EXPECT_NEAR(bootstrap.high, wilson.high, 0.003);
}

TEST(BootstrapIntervalTest, TheSameEachTimeAndAroundTheValue) {
  std::mt19937_64 generator(3);
  for (int round = 0; round < 10; ++round) {
    Confusion confusion;
    for (int label = 0; label < 5; ++label) {
      confusion[{label, label}] = 200;
      confusion[{label, static_cast<int>(generator() % 5)}] += static_cast<int>(generator() % 60);
    }
    for (const Metric metric : kMetrics) {
      const Interval interval = bootstrap_interval(metric, confusion);
      EXPECT_LT(interval.low, value_of(metric, confusion)) << name_of(metric);
      EXPECT_LT(value_of(metric, confusion), interval.high + 1e-12) << name_of(metric);
      EXPECT_EQ(interval.low, bootstrap_interval(metric, confusion).low);
    }
  }
}

TEST(McNemarTest, KnownValues) {
  // Fagerland, Lydersen and Laake 2013: airway hyper-responsiveness, 1 against 7; complications, 0 against 2 by hand.
  EXPECT_NEAR(mcnemar_exact_p(1, 7), 0.0703, 1e-4);
  EXPECT_NEAR(mcnemar_mid_p(1, 7), 0.0391, 1e-4);
  EXPECT_NEAR(mcnemar_exact_p(0, 2), 0.5, 1e-12);
  EXPECT_NEAR(mcnemar_mid_p(0, 2), 0.25, 1e-12);
  EXPECT_NEAR(mcnemar_mid_p(3, 3), 1 - 20.0 / 64 / 2, 1e-12);
  EXPECT_EQ(mcnemar_mid_p(0, 0), 1);
  EXPECT_EQ(mcnemar_mid_p(7, 1), mcnemar_mid_p(1, 7));
  // Of thousands of images, near the normal approximation: z = 80 / sqrt(1600) = 2, p = 0.0455.
  EXPECT_NEAR(mcnemar_mid_p(760, 840), 0.0455, 2e-4);
  EXPECT_LT(mcnemar_mid_p(100, 3000), 1e-12);
}

TEST(McNemarTest, OfImages) {
  EXPECT_NEAR(paired_p({true, true, false, true}, {true, false, false, false}), 0.25, 1e-12);
}

TEST(McNemarTest, EqualModelsDifferInFivePercent) {
  std::mt19937_64 generator(11);
  int differing = 0;
  for (int i = 0; i < 4000; ++i) {
    const int first = std::binomial_distribution<int>(60, 0.5)(generator);
    differing += mcnemar_mid_p(first, 60 - first) < 0.05;
  }
  EXPECT_NEAR(differing / 4000.0, 0.05, 0.02);
}

TEST(HolmTest, KnownValues) {
  // R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm").
  const std::vector<double> p = {0.01, 0.04, 0.03, 0.005}, expected = {0.03, 0.06, 0.06, 0.02};
  const std::vector<double> adjusted = holm(p);
  ASSERT_EQ(adjusted.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(adjusted[i], expected[i], 1e-12) << i;
  EXPECT_EQ(holm(std::vector<double>{0.9, 0.8}), (std::vector<double>{1, 1}));
  EXPECT_TRUE(holm({}).empty());
}

}  // namespace
}  // namespace finch::controller
