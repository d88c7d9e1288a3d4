// What holds for every algorithm.
#include "search/search_algorithm.hpp"

#include <gmock/gmock.h>

#include <limits>
#include <set>

#include "search/cost_model.hpp"
#include "tests/search/simulated_campaign.hpp"
#include "tests/search/toy_space.hpp"

namespace finch::search {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

MATCHER_P(SameProposals, expected, "") {
  if (arg.size() != expected.size()) return false;
  for (std::size_t i = 0; i < arg.size(); ++i) {
    if (arg[i].id != expected[i].id || arg[i].genotype != expected[i].genotype || arg[i].parent != expected[i].parent) {
      *result_listener << "differ at " << i;
      return false;
    }
  }
  return true;
}

std::unique_ptr<SearchSpace> mobilenet() {
  return *make_search_space({.image = {1, 28, 28}, .classes = 10});
}

// Two opposed objectives; some candidates are dropped, some fail.
Outcome toy_outcome(const Genotype& genotype) {
  double cost = 0, error = 0;
  for (std::size_t i = 0; i < genotype.size(); ++i) {
    cost += genotype[i];
    error += 1.0 / (1.0 + genotype[i] * (i % 3 == 0 ? 2.0 : 0.5));
  }
  if (genotype[0] == 1 && genotype[1] == 1) return {.objectives = {}, .violation = 0.3};
  if (genotype[0] == 2 && genotype[1] == 0) {
    return {.objectives = {}, .violation = std::numeric_limits<double>::infinity()};
  }
  return {.objectives = {error, cost}, .violation = cost > 40 ? cost / 40 - 1 : 0};
}

std::size_t differences(const Genotype& a, const Genotype& b) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < a.size(); ++i) count += a[i] != b[i];
  return count;
}

class EveryAlgorithm : public testing::TestWithParam<std::string> {
 protected:
  std::unique_ptr<SearchAlgorithm> make(const SearchSpace& space, std::uint64_t seed = 1,
                                        std::function<bool(const Genotype&)> admissible = {}) {
    auto algorithm =
        make_search_algorithm({.name = GetParam(), .seed = seed, .admissible = std::move(admissible)}, space);
    EXPECT_TRUE(algorithm) << algorithm.error().message;
    return std::move(*algorithm);
  }
};

INSTANTIATE_TEST_SUITE_P(Search, EveryAlgorithm, testing::ValuesIn(search_algorithm_names()),
                         [](const auto& tested) { return tested.param; });

TEST_P(EveryAlgorithm, FindsTheFewCandidatesThatThereAre) {
  const auto space = mobilenet();
  std::mt19937_64 generator(3);
  std::set<Genotype> candidates;
  while (candidates.size() < 30) candidates.insert(space->random(generator));
  auto algorithm = make_search_algorithm({.name = GetParam(),
                                          .admissible = [&](const Genotype& one) { return candidates.contains(one); },
                                          .candidates = {candidates.begin(), candidates.end()}},
                                         *space);
  ASSERT_TRUE(algorithm) << algorithm.error().message;
  SimulatedCampaign campaign{.evaluate = toy_outcome};
  campaign.run(**algorithm, 40);
  std::set<Genotype> found;
  for (const Proposal& proposal : campaign.proposals) found.insert(proposal.genotype);
  EXPECT_EQ(found, candidates);
}

TEST_P(EveryAlgorithm, GoesOnFromWhatAnotherSearchFound) {
  const auto space = mobilenet();
  const auto before = make(*space, 7);
  SimulatedCampaign campaign{.evaluate = toy_outcome, .workers = 3};
  campaign.run(*before, 25);
  const auto grown = [&] {
    auto algorithm = make(*space, 8);
    for (const Proposal& proposal : campaign.proposals) EXPECT_EQ(algorithm->adopt(proposal.genotype), proposal.id);
    for (const Proposal& proposal : campaign.proposals) algorithm->tell(proposal.id, toy_outcome(proposal.genotype));
    return algorithm;
  };
  const auto proposals = grown()->ask(5);
  ASSERT_THAT(proposals, SizeIs(5));
  for (std::size_t i = 0; i < proposals.size(); ++i) {
    EXPECT_EQ(proposals[i].id, 25 + i + 1);
    for (const Proposal& known : campaign.proposals) EXPECT_NE(proposals[i].genotype, known.genotype);
    ASSERT_TRUE(proposals[i].parent);
  }
  EXPECT_THAT(grown()->ask(5), SameProposals(proposals));
}

TEST_P(EveryAlgorithm, ProposesDistinctCanonicalGenotypesWithAscendingIds) {
  const auto space = mobilenet();
  const auto algorithm = make(*space);
  SimulatedCampaign campaign{.evaluate = toy_outcome, .workers = 6};
  campaign.run(*algorithm, 80);
  ASSERT_THAT(campaign.proposals, SizeIs(80));
  std::set<Genotype> seen;
  for (std::size_t i = 0; i < campaign.proposals.size(); ++i) {
    const Proposal& proposal = campaign.proposals[i];
    EXPECT_EQ(proposal.id, i + 1);
    ASSERT_TRUE(space->valid(proposal.genotype));
    EXPECT_EQ(space->canonical(proposal.genotype), proposal.genotype);
    EXPECT_TRUE(seen.insert(proposal.genotype).second);
  }
}

TEST_P(EveryAlgorithm, TheParentIsTheClosestEvaluatedSoFar) {
  const auto space = mobilenet();
  SimulatedCampaign campaign{.evaluate = toy_outcome, .workers = 5};
  campaign.run(*make(*space), 60);
  std::vector<CandidateId> evaluated;
  std::size_t next = 0;
  for (const Event& event : campaign.events) {
    if (event.told > 0) {
      if (!event.outcome.objectives.empty()) evaluated.push_back(event.told);
      continue;
    }
    for (std::size_t i = 0; i < event.asked; ++i, ++next) {
      const Proposal& proposal = campaign.proposals[next];
      ASSERT_EQ(proposal.parent.has_value(), !evaluated.empty());
      if (!proposal.parent) continue;
      EXPECT_THAT(evaluated, testing::Contains(*proposal.parent));
      const std::size_t distance = differences(proposal.genotype, campaign.proposals[*proposal.parent - 1].genotype);
      for (const CandidateId id : evaluated) {
        EXPECT_LE(distance, differences(proposal.genotype, campaign.proposals[id - 1].genotype));
      }
    }
  }
  EXPECT_EQ(next, campaign.proposals.size());
}

TEST_P(EveryAlgorithm, SameSeedAndSameTellsGiveTheSameProposals) {
  const auto space = mobilenet();
  std::vector<Proposal> first;
  for (int i = 0; i < 2; ++i) {
    SimulatedCampaign campaign{.evaluate = toy_outcome};
    campaign.run(*make(*space, 99), 50);
    if (i == 0) first = campaign.proposals;
    EXPECT_THAT(campaign.proposals, SameProposals(first));
  }
  SimulatedCampaign other{.evaluate = toy_outcome};
  other.run(*make(*space, 100), 50);
  EXPECT_THAT(other.proposals, testing::Not(SameProposals(first)));
}

TEST_P(EveryAlgorithm, AReplayOfAnyOrderOfResultsGivesTheSameProposals) {
  const auto space = mobilenet();
  for (std::uint64_t order = 1; order <= 8; order += 3) {
    SimulatedCampaign campaign{
        .evaluate = toy_outcome, .workers = static_cast<std::size_t>(2 * order), .order_seed = order};
    campaign.run(*make(*space, 5), 50);
    EXPECT_THAT(replay(*make(*space, 5), campaign.events), SameProposals(campaign.proposals));
    // Cut anywhere, as by a crash, the log still leads to the same place.
    const std::vector<Event> part(campaign.events.begin(), campaign.events.begin() + 40);
    const auto again = replay(*make(*space, 5), part);
    EXPECT_THAT(again,
                SameProposals(std::vector(campaign.proposals.begin(),
                                          campaign.proposals.begin() + static_cast<std::ptrdiff_t>(again.size()))));
  }
}

TEST_P(EveryAlgorithm, HundredsMayBeInFlight) {
  const auto space = mobilenet();
  const auto algorithm = make(*space);
  const auto proposals = algorithm->ask(500);
  ASSERT_THAT(proposals, SizeIs(500));
  std::set<Genotype> seen;
  for (const Proposal& proposal : proposals) {
    EXPECT_FALSE(proposal.parent);
    EXPECT_TRUE(seen.insert(proposal.genotype).second);
  }
  for (std::size_t i = proposals.size(); i-- > 0;) algorithm->tell(proposals[i].id, toy_outcome(proposals[i].genotype));
  for (const Proposal& proposal : algorithm->ask(50)) {
    EXPECT_TRUE(proposal.parent);
    EXPECT_TRUE(seen.insert(proposal.genotype).second);
  }
}

TEST_P(EveryAlgorithm, ASpaceIsExhaustedOnceEverywhere) {
  const ToySpace space(4, 3);  // 2 * 27 + 9 distinct
  for (const bool told : {false, true}) {
    const auto algorithm = make(space);
    std::set<Genotype> seen;
    for (int i = 0; i < 30; ++i) {
      for (const Proposal& proposal : algorithm->ask(3)) {
        EXPECT_TRUE(seen.insert(proposal.genotype).second);
        if (told) algorithm->tell(proposal.id, toy_outcome(proposal.genotype));
      }
    }
    EXPECT_THAT(seen, SizeIs(63));
    EXPECT_THAT(algorithm->ask(5), IsEmpty());
    EXPECT_THAT(make(space)->ask(1000), SizeIs(63));
  }
}

TEST_P(EveryAlgorithm, AsksForNothingGetNothing) {
  const ToySpace space(4, 3);
  EXPECT_THAT(make(space)->ask(0), IsEmpty());
}

TEST_P(EveryAlgorithm, GivesUpWithBoundedEffortWhereNothingIsAdmissible) {
  const auto space = mobilenet();
  int calls = 0;
  const auto algorithm = make(*space, 1, [&](const Genotype&) { return ++calls < 0; });
  EXPECT_THAT(algorithm->ask(100), IsEmpty());
  EXPECT_LT(calls, 20'000);
  calls = 0;
  EXPECT_THAT(algorithm->ask(100), IsEmpty());
  EXPECT_LT(calls, 3'000);
}

TEST_P(EveryAlgorithm, FindsTheAdmissibleFewAndNothingElse) {
  const auto space = mobilenet();
  int calls = 0;
  // The smallest network has 5,778 parameters; not one of 1,000 uniform genotypes has less than 9,000.
  const auto admissible = [&](const Genotype& genotype) {
    ++calls;
    return cost_of(*space->decode(genotype)).parameters < 9'000;
  };
  const auto algorithm = make(*space, 1, admissible);
  for (int round = 0; round < 8; ++round) {
    const auto proposals = algorithm->ask(4);
    ASSERT_THAT(proposals, SizeIs(4));
    for (const Proposal& proposal : proposals) {
      EXPECT_LT(cost_of(*space->decode(proposal.genotype)).parameters, 9'000);
      algorithm->tell(proposal.id, toy_outcome(proposal.genotype));
    }
  }
  EXPECT_LT(calls, 100'000);
}

TEST_P(EveryAlgorithm, SurvivesThatEverythingFails) {
  const auto space = mobilenet();
  SimulatedCampaign campaign{.evaluate = [](const Genotype&) {
    return Outcome{.objectives = {}, .violation = std::numeric_limits<double>::infinity()};
  }};
  campaign.run(*make(*space), 100);
  EXPECT_THAT(campaign.proposals, SizeIs(100));
  for (const Proposal& proposal : campaign.proposals) EXPECT_FALSE(proposal.parent);
}

TEST(SearchAlgorithm, FactoryRefusesBadSettings) {
  const ToySpace space(4, 3);
  const auto error_of = [&](const AlgorithmConfig& config) {
    const auto algorithm = make_search_algorithm(config, space);
    return algorithm ? "no error" : algorithm.error().message;
  };
  EXPECT_EQ(error_of({}), "no error");
  EXPECT_THAT(error_of({.name = "annealing"}),
              HasSubstr("no search algorithm 'annealing'; known: surrogate, nsga2, unsga3, aging, random"));
  EXPECT_THAT(error_of({.proxy = "naswot"}), HasSubstr("no proxy 'naswot'; known: none, synflow"));
  EXPECT_THAT(error_of({.objectives = 0}), HasSubstr("at least one objective"));
  EXPECT_THAT(error_of({.population = 3}), HasSubstr("population of 3"));
  EXPECT_THAT(error_of({.crossover_probability = 1.5}), HasSubstr("crossover_probability is 1.5"));
  EXPECT_THAT(error_of({.mutation_probability = -0.1}), HasSubstr("mutation_probability is -0.1"));
  EXPECT_THAT(error_of({.mutation_probability = std::nan("")}), HasSubstr("between 0 and 1"));
}

}  // namespace
}  // namespace finch::search
