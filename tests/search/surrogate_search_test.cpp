#include "search/surrogate_search.hpp"

#include <gmock/gmock.h>

#include <set>

#include "search/cost_model.hpp"
#include "tests/search/simulated_campaign.hpp"
#include "tests/search/toy_space.hpp"

namespace finch::search {
namespace {

using ::testing::SizeIs;

std::unique_ptr<SearchSpace> make(const char* name) {
  return *make_search_space({.name = name, .image = {3, 32, 32}, .classes = 10});
}

// Accuracy rises with convolutions and depth, cost with convolutions.
Outcome cell_outcome(const SearchSpace& space, const Genotype& genotype) {
  const auto features = space.features(genotype);
  const double cost = 1 + 2 * features[1] + 9 * features[2] + features[3];
  return {.objectives = {60 / (1 + features[1] + 2 * features[2] + features[7]) + 5, cost}};
}

double reached(const SearchSpace& space, const char* algorithm, const std::function<Outcome(const Genotype&)>& evaluate,
               std::size_t evaluations, std::vector<double> reference, std::uint64_t seed = 1) {
  SimulatedCampaign campaign{.evaluate = evaluate};
  campaign.run(**make_search_algorithm({.name = algorithm, .seed = seed}, space), evaluations);
  std::vector<std::vector<double>> points;
  for (const auto& [id, outcome] : campaign.outcomes) {
    if (outcome.evaluated() && outcome.violation <= 0) points.push_back(outcome.objectives);
  }
  return hypervolume(points, reference);
}

TEST(SurrogateSearch, IsAheadOfNsga2InASpaceThatIsEnumerated) {
  const auto space = make("nasbench201");
  const auto evaluate = [&](const Genotype& genotype) { return cell_outcome(*space, genotype); };
  EXPECT_GT(reached(*space, "surrogate", evaluate, 40, {70, 40}), reached(*space, "nsga2", evaluate, 80, {70, 40}));
}

TEST(SurrogateSearch, IsAheadOfNsga2InASpaceThatIsNot) {
  const auto space = make("mobilenet");
  const auto evaluate = [&](const Genotype& genotype) {
    double capacity = 1;
    for (std::size_t i = 0; i < genotype.size(); ++i) capacity += genotype[i] * (i % 4 == 0 ? 1.5 : 0.5);
    return Outcome{.objectives = {100 / capacity, static_cast<double>(cost_of(*space->decode(genotype)).macs) / 1e6}};
  };
  EXPECT_GT(reached(*space, "surrogate", evaluate, 60, {40, 30}), reached(*space, "nsga2", evaluate, 60, {40, 30}));
}

TEST(SurrogateSearch, KeepsHardConstraintsThatItMustLearn) {
  const auto space = make("nasbench201");
  std::size_t late = 0, late_violations = 0;
  SimulatedCampaign campaign{.evaluate = [&](const Genotype& genotype) {
    Outcome outcome = cell_outcome(*space, genotype);
    if (outcome.objectives[1] > 15) outcome = {.objectives = {}, .violation = outcome.objectives[1] / 15 - 1};
    return outcome;
  }};
  campaign.run(**make_search_algorithm({.name = "surrogate"}, *space), 80);
  for (const auto& [id, outcome] : campaign.outcomes) {
    late += id > 40;
    late_violations += id > 40 && outcome.violation > 0;
  }
  EXPECT_LT(late_violations, late / 2);
}

TEST(SurrogateSearch, UsesWhatIsKnownBeforehandExactly) {
  const auto space = make("nasbench201");
  const auto cost = [&](const Genotype& genotype) { return cell_outcome(*space, genotype).objectives[1]; };
  const AlgorithmConfig config{.name = "surrogate", .known_objectives = {nullptr, cost}};
  SimulatedCampaign campaign{.evaluate = [&](const Genotype& genotype) { return cell_outcome(*space, genotype); }};
  campaign.run(**make_search_algorithm(config, *space), 40);
  EXPECT_THAT(campaign.proposals, SizeIs(40));
  const AlgorithmConfig all{.name = "surrogate", .known_objectives = {cost, cost}};
  SimulatedCampaign trivial{
      .evaluate = [&](const Genotype& genotype) { return Outcome{.objectives = {cost(genotype), cost(genotype)}}; },
      .workers = 1};
  trivial.run(**make_search_algorithm(all, *space), 8);
  double least = 1e9;
  for (const Proposal& proposal : trivial.proposals) least = std::min(least, cost(proposal.genotype));
  EXPECT_EQ(least, 1) << "after the initial design of six, the best of all at once";
}

TEST(SurrogateSearch, AnObjectiveOfNoiseOrWithoutDifferencesDoesNotBreakIt) {
  const auto space = make("nasbench201");
  std::mt19937_64 generator(1);
  for (const auto& evaluate : std::vector<std::function<Outcome(const Genotype&)>>{
           [&](const Genotype&) { return Outcome{.objectives = {static_cast<double>(generator() % 1000), 1.0}}; },
           [&](const Genotype&) { return Outcome{.objectives = {0.0, 0.0}}; },
           [&](const Genotype&) { return Outcome{.objectives = {generator() % 9 == 0 ? 1e300 : 1.0, -1e300}}; },
           [&](const Genotype& genotype) {
             return Outcome{.objectives = {genotype[0] == 3 ? std::nan("") : 1.0, static_cast<double>(genotype[1])}};
           }}) {
    SimulatedCampaign campaign{.evaluate = evaluate};
    campaign.run(**make_search_algorithm({.name = "surrogate"}, *space), 60);
    std::set<Genotype> distinct;
    for (const Proposal& proposal : campaign.proposals) distinct.insert(proposal.genotype);
    EXPECT_THAT(distinct, SizeIs(60));
  }
}

TEST(SurrogateSearch, TakesAnyNumberOfObjectives) {
  const auto space = make("nasbench201");
  for (const std::size_t objectives : {1, 3, 4}) {
    SimulatedCampaign campaign{.evaluate = [&](const Genotype& genotype) {
      Outcome outcome;
      const auto features = space->features(genotype);
      for (std::size_t i = 0; i < objectives; ++i)
        outcome.objectives.push_back(features[i] * (i % 2 == 0 ? 1 : -1) + 0.1 * features[5]);
      return outcome;
    }};
    campaign.run(**make_search_algorithm({.name = "surrogate", .objectives = objectives}, *space), 30);
    EXPECT_THAT(campaign.proposals, SizeIs(30));
  }
}

}  // namespace
}  // namespace finch::search
