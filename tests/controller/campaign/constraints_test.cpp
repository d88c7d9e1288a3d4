#include "controller/campaign/constraints.hpp"

#include <gmock/gmock.h>

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
