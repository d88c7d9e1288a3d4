#include "search/proposal_log.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "tests/search/toy_space.hpp"

namespace finch::search {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(ProposalLog, NumbersProposalsFromOne) {
  const ToySpace space(3, 3);
  ProposalLog log(space, {});
  EXPECT_EQ(log.propose({0, 0, 0}).id, 1U);
  EXPECT_EQ(log.propose({1, 0, 0}).id, 2U);
  EXPECT_EQ(log.genotype(2), (Genotype{1, 0, 0}));
}

TEST(ProposalLog, OldAndForbiddenGenotypesAreNotNew) {
  const ToySpace space(3, 3);
  ProposalLog log(space, [](const Genotype& genotype) { return genotype[1] != 2; });
  EXPECT_TRUE(log.is_new({1, 0, 0}));
  EXPECT_FALSE(log.is_new({1, 2, 0}));
  log.propose({1, 0, 0});
  EXPECT_FALSE(log.is_new({1, 0, 0}));
}

TEST(ProposalLog, TheParentIsTheClosestEvaluated) {
  const ToySpace space(4, 4);
  ProposalLog log(space, {});
  EXPECT_FALSE(log.propose({1, 1, 1, 1}).parent);
  EXPECT_FALSE(log.propose({3, 3, 3, 3}).parent);  // asked, but not yet told
  log.tell(1, {.objectives = {1, 1}});
  EXPECT_EQ(log.propose({3, 3, 3, 2}).parent, 1U);
  log.tell(2, {.objectives = {9, 9}, .violation = 2});  // infeasible, but trained: its weights are as good
  EXPECT_EQ(log.propose({3, 3, 3, 1}).parent, 2U);
  EXPECT_EQ(log.propose({1, 1, 1, 3}).parent, 1U);
}

TEST(ProposalLog, WhatWasNotEvaluatedIsNoParent) {
  const ToySpace space(4, 4);
  ProposalLog log(space, {});
  for (int i = 0; i < 4; ++i) log.propose({1, 1, 1, i});
  log.tell(1, {.objectives = {}, .violation = 0.5});                           // dropped before training
  log.tell(2, {.objectives = {}, .violation = kInfinity});                     // failed
  log.tell(3, {.objectives = {1, std::numeric_limits<double>::quiet_NaN()}});  // diverged
  log.tell(4, {.objectives = {kInfinity, 1}});
  EXPECT_FALSE(log.propose({1, 1, 2, 0}).parent);
}

TEST(ProposalLog, RandomFindsTheFewThatConstraintsLeave) {
  const ToySpace space(12, 6);
  int calls = 0;
  ProposalLog log(space, [&](const Genotype& genotype) {
    ++calls;
    int sum = 0;
    for (const int choice : genotype) sum += choice;
    return sum <= 3;  // about one of 5 million
  });
  std::mt19937_64 generator(1);
  for (int i = 0; i < 20; ++i) {
    const auto genotype = log.new_random(generator);
    ASSERT_TRUE(genotype) << i;
    log.propose(*genotype);
  }
  EXPECT_LT(calls, 20 * 3000);
}

}  // namespace
}  // namespace finch::search
