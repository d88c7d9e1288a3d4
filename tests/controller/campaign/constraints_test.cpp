#include "controller/campaign/constraints.hpp"

#include <gmock/gmock.h>

#include "search/search_algorithm.hpp"

namespace finch::controller {
namespace {

class ConstraintsTest : public testing::Test {
 protected:
  std::int64_t macs(const search::Genotype& genotype) const {
    return search::cost_of(space_->decode(genotype).value()).macs;
  }
  std::unique_ptr<search::SearchSpace> space_ =
      search::make_search_space({.name = "mobilenet", .image = {1, 28, 28}, .classes = 10}).value();
};

TEST_F(ConstraintsTest, WithoutLimitsTheExtremesAreTheSpaces) {
  const auto extremes = extremes_within({}, *space_);
  ASSERT_TRUE(extremes);
  EXPECT_EQ(extremes->smallest, space_->smallest());
  EXPECT_EQ(extremes->largest, space_->largest());
}

TEST_F(ConstraintsTest, TheLargestIsNearItsLimit) {
  ConstraintConfig limits;
  limits.macs = 2'500'000;
  const auto extremes = extremes_within(limits, *space_);
  ASSERT_TRUE(extremes);
  EXPECT_EQ(extremes->smallest, space_->smallest());
  EXPECT_LE(macs(extremes->largest), 2'500'000);
  EXPECT_GE(macs(extremes->largest), 2'000'000);
}

// A cell of nasbench201 without a path from input to output: rejected before it is proposed, whatever the limits.
TEST_F(ConstraintsTest, WhatIsNoNetworkIsNeverKept) {
  const auto cells = search::make_search_space({.name = "nasbench201", .image = {1, 28, 28}, .classes = 10}).value();
  EXPECT_FALSE(keeps({}, *cells, cells->smallest()));
  EXPECT_TRUE(keeps({}, *cells, cells->largest()));
  const auto extremes = extremes_within({}, *cells);
  ASSERT_TRUE(extremes);
  const auto macs_of = [&](const auto& cell) { return search::cost_of(cells->decode(cell).value()).macs; };
  EXPECT_GT(macs_of(extremes->largest), 5 * macs_of(extremes->smallest));

  search::AlgorithmConfig config;
  config.admissible = [&](const search::Genotype& cell) { return keeps({}, *cells, cell); };
  for (const std::string& name : search::search_algorithm_names()) {
    config.name = name;
    const auto algorithm = search::make_search_algorithm(config, *cells).value();
    for (const search::Proposal& proposal : algorithm->ask(50)) EXPECT_TRUE(cells->decode(proposal.genotype));
  }
}

TEST_F(ConstraintsTest, NothingKeepsAnImpossibleLimit) {
  ConstraintConfig limits;
  limits.parameters = 1;
  EXPECT_FALSE(extremes_within(limits, *space_));
}

TEST_F(ConstraintsTest, EveryLimitCounts) {
  const search::Cost cost = search::cost_of(space_->decode(space_->smallest()).value());
  EXPECT_TRUE(keeps({}, cost));
  ConstraintConfig limits;
  limits.parameters = static_cast<double>(cost.parameters);
  limits.macs = static_cast<double>(cost.macs);
  limits.memory_mb = static_cast<double>(cost.peak_activation_bytes) / (1 << 20);
  EXPECT_TRUE(keeps(limits, cost));
  for (auto* limit : {&limits.parameters, &limits.macs, &limits.memory_mb}) {
    const auto before = *limit;
    *limit = *before * 0.99;
    EXPECT_FALSE(keeps(limits, cost));
    *limit = before;
  }
}

}  // namespace
}  // namespace finch::controller
