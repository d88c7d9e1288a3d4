#include "search/expected_improvement.hpp"

#include <gtest/gtest.h>

#include <random>

#include "search/pareto_front.hpp"

namespace finch::search {
namespace {

class AnyObjectives : public testing::TestWithParam<std::size_t> {
 protected:
  double uniform() { return static_cast<double>(generator_() >> 11) * 0x1.0p-53; }
  std::vector<double> point() {
    std::vector<double> values;
    for (std::size_t i = 0; i < GetParam(); ++i) values.push_back(1.2 * uniform());
    return values;
  }
  std::mt19937_64 generator_{11};
};

INSTANTIATE_TEST_SUITE_P(Search, AnyObjectives, testing::Values(1, 2, 3, 4));

// What a known point adds is the difference of hypervolumes, which pagmo computes.
TEST_P(AnyObjectives, OfAPointIsTheDifferenceOfHypervolumes) {
  const std::vector<double> reference(GetParam(), 1.0);
  for (int round = 0; round < 40; ++round) {
    ParetoFront front;
    for (int i = 0; i < round % 12; ++i) front.insert({1, point()});
    std::vector<std::vector<double>> points;
    for (const auto& entry : front.entries()) points.push_back(entry.objectives);
    const ExpectedImprovement improvement(points, reference);
    const double before = hypervolume(points, reference);
    for (int i = 0; i < 20; ++i) {
      auto more = points;
      more.push_back(point());
      EXPECT_NEAR(improvement.of_point(more.back()), hypervolume(more, reference) - before, 1e-9);
    }
  }
}

TEST_P(AnyObjectives, ExpectsTheMeanOverIndependentSamples) {
  const std::vector<double> reference(GetParam(), 1.0);
  const std::vector<std::vector<double>> front = {std::vector(GetParam(), 0.5)};
  const ExpectedImprovement improvement(front, reference);
  std::vector<std::vector<double>> samples(GetParam());
  for (auto& values : samples) values = {uniform(), uniform()};
  double sum = 0;
  const std::size_t combinations = std::size_t{1} << GetParam();
  for (std::size_t which = 0; which < combinations; ++which) {
    std::vector<double> one;
    for (std::size_t i = 0; i < GetParam(); ++i) one.push_back(samples[i][which >> i & 1]);
    sum += improvement.of_point(one);
  }
  const std::vector<std::span<const double>> views(samples.begin(), samples.end());
  EXPECT_NEAR(improvement(views), sum / static_cast<double>(combinations), 1e-12);
}

}  // namespace
}  // namespace finch::search
