#include "search/unsga3.hpp"

#include <gmock/gmock.h>

#include <numeric>

#include "search/pareto_front.hpp"
#include "tests/search/simulated_campaign.hpp"
#include "tests/search/toy_space.hpp"

namespace finch::search {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(UNsga3, ReferenceDirectionsSpreadOverTheSimplex) {
  EXPECT_THAT(reference_directions(2, 20), SizeIs(20));
  EXPECT_THAT(reference_directions(3, 20), SizeIs(15));  // 4 divisions; 5 would give 21
  EXPECT_THAT(reference_directions(1, 4), SizeIs(1));
  for (const auto& direction : reference_directions(4, 40))
    EXPECT_NEAR(std::accumulate(direction.begin(), direction.end(), 0.0), 1.0, 1e-12);
}

// Three objectives that share the decisions among them: the whole space is one front.
Outcome opposed(const Genotype& genotype) {
  const double sum = std::accumulate(genotype.begin(), genotype.end(), 0.0);
  return {.objectives = {static_cast<double>(genotype[0]) + 0.1 * sum, static_cast<double>(genotype[1]) + 0.1 * sum,
                         4.0 - genotype[0] + 4.0 - genotype[1] + 0.1 * sum}};
}

TEST(UNsga3, ConvergesWhileRandomSearchDoesNot) {
  const ToySpace space(10, 5);
  const std::vector<double> reference = {20, 20, 20};
  const auto reached = [&](const char* name) {
    std::vector<double> volumes;
    for (std::uint64_t seed = 1; seed <= 5; ++seed) {
      const auto algorithm = *make_search_algorithm({.name = name, .seed = seed, .objectives = 3}, space);
      SimulatedCampaign campaign{.evaluate = opposed};
      campaign.run(*algorithm, 200);
      std::vector<std::vector<double>> points;
      for (const auto& [id, outcome] : campaign.outcomes) points.push_back(outcome.objectives);
      volumes.push_back(hypervolume(points, reference));
    }
    std::ranges::sort(volumes);
    return volumes[2];
  };
  EXPECT_GT(reached("unsga3"), reached("random"));
}

TEST(UNsga3, RefusesAPopulationThatIsTooSmall) {
  const ToySpace space(4, 3);
  const auto refused = make_search_algorithm({.name = "unsga3", .objectives = 6, .population = 5}, space);
  EXPECT_THAT(refused.error().message, HasSubstr("at least 6"));
}

}  // namespace
}  // namespace finch::search
