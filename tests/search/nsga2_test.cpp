#include "search/nsga2.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "search/cost_model.hpp"
#include "search/pareto_front.hpp"
#include "tests/search/simulated_campaign.hpp"
#include "tests/search/toy_space.hpp"

namespace finch::search {
namespace {

const SearchSpace& mobilenet() {
  static const auto space = *make_search_space({.image = {1, 28, 28}, .classes = 10});
  return *space;
}

double log_macs(const Genotype& genotype) {
  return std::log10(static_cast<double>(cost_of(*mobilenet().decode(genotype)).macs));
}

// An error as of a trained network: it falls with every step of a decision, by a share that the step's cost does not
// tell, so that some decisions are bargains and others are not worth their MACs.
double synthetic_error(const Genotype& genotype) {
  double quality = 0, all = 0;
  for (std::size_t i = 0; i < genotype.size(); ++i) {
    const double gain = 0.1 + static_cast<double>((i * 7919 + 3) % 11);
    const auto top = static_cast<double>(mobilenet().decisions()[i].choices.size() - 1);
    quality += gain * std::sqrt(genotype[i] / top);
    all += gain;
  }
  return 8.0 + 40.0 * std::pow(1.0 - quality / all, 1.5);
}

Outcome synthetic(const Genotype& genotype) {
  return {.objectives = {synthetic_error(genotype), log_macs(genotype)}};
}

double final_hypervolume(const std::string& name, std::uint64_t seed, std::size_t evaluations) {
  const auto algorithm = make_search_algorithm({.name = name, .seed = seed}, mobilenet());
  SimulatedCampaign campaign{.evaluate = synthetic, .order_seed = seed};
  campaign.run(**algorithm, evaluations);
  std::vector<std::vector<double>> points;
  for (const auto& [id, outcome] : campaign.outcomes) points.push_back(outcome.objectives);
  return hypervolume(points, std::vector{50.0, 7.5});
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

TEST(Nsga2, BeatsRandomSearch) {
  for (const std::size_t evaluations : {40U, 200U}) {
    std::vector<double> nsga2, random;
    for (std::uint64_t seed = 1; seed <= 11; ++seed) {
      nsga2.push_back(final_hypervolume("nsga2", seed, evaluations));
      random.push_back(final_hypervolume("random", seed, evaluations));
    }
    RecordProperty("nsga2_" + std::to_string(evaluations), std::to_string(median(nsga2)));
    RecordProperty("random_" + std::to_string(evaluations), std::to_string(median(random)));
    EXPECT_GT(median(nsga2), 1.05 * median(random)) << evaluations;
    EXPECT_GT(std::ranges::min(nsga2), median(random)) << evaluations;
  }
}

TEST(Nsga2, ImprovesOnItsInitialPopulation) {
  std::vector<double> early, late;
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    early.push_back(final_hypervolume("nsga2", seed, 16));
    late.push_back(final_hypervolume("nsga2", seed, 300));
  }
  EXPECT_GT(median(late), 1.1 * median(early));
}

TEST(Nsga2, BeginsWithBothExtremesAndSpreadsByCost) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    Nsga2 algorithm({.seed = seed}, mobilenet());
    const auto proposals = algorithm.ask(16);
    ASSERT_EQ(proposals.size(), 16U);
    EXPECT_EQ(proposals[0].genotype, mobilenet().smallest());
    EXPECT_EQ(proposals[1].genotype, mobilenet().largest());
    const double low = log_macs(proposals[0].genotype), high = log_macs(proposals[1].genotype);
    int quarters[4] = {};
    for (const Proposal& proposal : proposals) {
      const double at = (log_macs(proposal.genotype) - low) / (high - low);
      ++quarters[std::clamp(static_cast<int>(at * 4), 0, 3)];
    }
    for (const int count : quarters) EXPECT_GE(count, 3) << seed;
  }
}

TEST(Nsga2, TheInitialDesignBendsToConstraints) {
  const auto admissible = [](const Genotype& genotype) { return log_macs(genotype) < 5.5; };
  Nsga2 algorithm({.seed = 1, .admissible = admissible}, mobilenet());
  const auto proposals = algorithm.ask(16);
  ASSERT_EQ(proposals.size(), 16U);
  double highest = 0;
  for (const Proposal& proposal : proposals) highest = std::max(highest, log_macs(proposal.genotype));
  EXPECT_LT(highest, 5.5);
  EXPECT_GT(highest, 5.3);  // the costly end of what is left is there too
}

// Only 1 of 20 uniform genotypes keeps the limit; the violation leads there.
TEST(Nsga2, ConstrainedDominationLeadsToTheFeasible) {
  constexpr double kLimit = 5.45;
  const auto constrained = [](const Genotype& genotype) {
    const double violation = std::max(0.0, log_macs(genotype) / kLimit - 1);
    return violation > 0 ? Outcome{.objectives = {}, .violation = violation} : synthetic(genotype);
  };
  const auto feasible_share = [&](const std::string& name) {
    const auto algorithm = make_search_algorithm({.name = name, .seed = 3}, mobilenet());
    SimulatedCampaign campaign{.evaluate = constrained};
    campaign.run(**algorithm, 200);
    int feasible = 0;
    for (const auto& [id, outcome] : campaign.outcomes) feasible += id > 100 && outcome.violation <= 0;
    return feasible / 100.0;
  };
  EXPECT_LT(feasible_share("random"), 0.15);
  EXPECT_GT(feasible_share("nsga2"), 0.4);
}

// All that was ever feasible must outlive what is not, however good that looks otherwise.
TEST(Nsga2, AFeasibleCandidateBeatsAnInfeasibleOne) {
  const ToySpace space(10, 3);
  Nsga2 algorithm({.seed = 1, .population = 4, .crossover_probability = 0.0, .mutation_probability = 1e-9}, space);
  std::vector<Genotype> feasible;
  for (int round = 0; round < 10; ++round) {
    for (const Proposal& proposal : algorithm.ask(4)) {
      const bool good = proposal.genotype[0] == 2;
      if (good) feasible.push_back(proposal.genotype);
      algorithm.tell(proposal.id, good ? Outcome{.objectives = {5, 5}}
                                       : Outcome{.objectives = {1, 1}, .violation = 1.0 + proposal.genotype[1]});
    }
  }
  ASSERT_GE(feasible.size(), 4U);  // the population holds nothing else by now
  // Without crossover a child differs from its parent in one decision, and in the last one where the first is now 0:
  // the parents were feasible.
  for (const Proposal& proposal : algorithm.ask(20)) {
    EXPECT_TRUE(std::ranges::any_of(feasible, [&](const Genotype& parent) {
      int differing = 0;
      for (std::size_t i = 0; i + 1 < parent.size(); ++i) differing += parent[i] != proposal.genotype[i];
      const bool last_differs = proposal.genotype[0] != 0 && parent.back() != proposal.genotype.back();
      return differing + last_differs <= 1;
    })) << to_string(proposal.genotype);
  }
}

TEST(Nsga2, VariationStaysInTheSpaceAtEveryProbability) {
  for (const double crossover : {0.0, 1.0}) {
    for (const double mutation : {0.0, 0.5, 1.0}) {
      Nsga2 algorithm({.seed = 7, .crossover_probability = crossover, .mutation_probability = mutation}, mobilenet());
      SimulatedCampaign campaign{.evaluate = synthetic};
      campaign.run(algorithm, 100);
      ASSERT_EQ(campaign.proposals.size(), 100U);
      for (const Proposal& proposal : campaign.proposals) EXPECT_TRUE(mobilenet().valid(proposal.genotype));
    }
  }
}

TEST(Nsga2, UndefinedObjectivesCountAsFailed) {
  Nsga2 algorithm({.seed = 1}, mobilenet());
  SimulatedCampaign campaign{.evaluate = [](const Genotype& genotype) {
    Outcome outcome = synthetic(genotype);
    if (genotype[2] == 1) outcome.objectives[0] = std::nan("");
    return outcome;
  }};
  campaign.run(algorithm, 200);
  int diverged = 0;
  for (const Proposal& proposal : campaign.proposals) diverged += proposal.id > 100 && proposal.genotype[2] == 1;
  EXPECT_LT(diverged, 35);  // uniform would be 50
}

}  // namespace
}  // namespace finch::search
