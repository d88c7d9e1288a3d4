#include "agent/power_trace.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace finch::agent {
namespace {

using std::chrono::milliseconds;

std::vector<PowerSample> samples_every(int step_ms, int until_ms, double (*power_mw)(int)) {
  std::vector<PowerSample> samples;
  for (int at = 0; at <= until_ms; at += step_ms) samples.push_back({milliseconds(at), power_mw(at)});
  return samples;
}

double constant(int) {
  return 3000;
}
double ramp(int at_ms) {
  return at_ms;
}

TEST(IntegratePower, ConstantPowerIsPowerTimesTime) {
  const auto energy =
      integrate_power(samples_every(100, 10'000, constant), {.begin = milliseconds(1'250), .end = milliseconds(3'777)});
  ASSERT_TRUE(energy);
  EXPECT_NEAR(energy->energy_mj, 3000 * 2.527, 1e-6);
  EXPECT_NEAR(energy->mean_mw, 3000, 1e-9);
  EXPECT_NEAR(energy->coverage, 1, 1e-9);
}

TEST(IntegratePower, TrapezoidsAreExactForARamp) {
  // The integral of t mW from 1 s to 2.5 s: (2.5^2 - 1) / 2 in units of 1,000 mW s.
  const auto energy =
      integrate_power(samples_every(70, 10'000, ramp), {.begin = milliseconds(1'000), .end = milliseconds(2'500)});
  EXPECT_NEAR(energy->energy_mj, 1000 * (2.5 * 2.5 - 1) / 2, 1e-6);
}

TEST(IntegratePower, PiecesAddUpToTheWhole) {
  const auto samples = samples_every(33, 10'000, ramp);
  const auto piece = [&](int begin, int end) {
    return integrate_power(samples, {.begin = milliseconds(begin), .end = milliseconds(end)})->energy_mj;
  };
  EXPECT_NEAR(piece(100, 4'001) + piece(4'001, 9'000), piece(100, 9'000), 1e-6);
}

TEST(IntegratePower, AGapIsNotCovered) {
  auto samples = samples_every(100, 10'000, constant);
  samples.erase(samples.begin() + 20, samples.begin() + 30);  // from 1.9 s to 3.0 s
  const auto energy = integrate_power(samples, {.begin = milliseconds(0), .end = milliseconds(10'000)});
  EXPECT_NEAR(energy->coverage, 0.89, 1e-9);
  EXPECT_LT(energy->coverage, 0.95);
  // One sample that is late is none yet.
  samples = samples_every(100, 10'000, constant);
  samples.erase(samples.begin() + 20);
  EXPECT_NEAR(integrate_power(samples, {.begin = milliseconds(0), .end = milliseconds(10'000)})->coverage, 1, 1e-9);
}

TEST(IntegratePower, WhatLiesBeyondTheSamplesIsNotCovered) {
  const auto energy =
      integrate_power(samples_every(100, 1'000, constant), {.begin = milliseconds(0), .end = milliseconds(2'000)});
  EXPECT_NEAR(energy->coverage, 0.5, 1e-9);
  EXPECT_NEAR(energy->mean_mw, 3000, 1e-9);
}

TEST(IntegratePower, NothingComesOfNothing) {
  const TimeWindow window{.begin = milliseconds(0), .end = milliseconds(100)};
  EXPECT_FALSE(integrate_power({}, window));
  EXPECT_FALSE(integrate_power(std::vector<PowerSample>{{milliseconds(50), 1}}, window));
  EXPECT_FALSE(integrate_power(samples_every(10, 100, constant), {.begin = milliseconds(9), .end = milliseconds(9)}));
  EXPECT_FALSE(
      integrate_power(samples_every(10, 100, constant), {.begin = milliseconds(200), .end = milliseconds(300)}));
}

}  // namespace
}  // namespace finch::agent
