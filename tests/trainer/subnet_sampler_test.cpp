#include "trainer/subnet_sampler.hpp"

#include <gmock/gmock.h>

#include "tests/trainer/sample_data.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

class SubnetSamplerTest : public testing::Test {
 protected:
  static std::int64_t macs(const search::Network& network) { return search::cost_of(network).macs; }

  const std::unique_ptr<search::SearchSpace> space_ =
      *search::make_search_space({"mobilenet", {1, kSampleSize, kSampleSize}, kSampleClasses});
  const std::int64_t smallest_ = macs(space_->decode(space_->smallest()).value());
  const std::int64_t largest_ = macs(space_->decode(space_->largest()).value());
};

TEST_F(SubnetSamplerTest, ASandwichIsTheLargestTheSmallestAndOthers) {
  SubnetSampler sampler(*space_, {}, 1);
  const auto networks = sampler.next(SubnetSampling::sandwich, 4).value();
  ASSERT_EQ(networks.size(), 4u);
  EXPECT_EQ(macs(networks[0]), largest_);
  EXPECT_EQ(macs(networks[1]), smallest_);
}

TEST_F(SubnetSamplerTest, WithinLimitsALargeOneLeads) {
  const CostLimits limits{.macs = 2.0 * static_cast<double>(smallest_)};
  SubnetSampler sampler(*space_, limits, 1);
  double large = 0, random = 0;
  for (int i = 0; i < 20; ++i) {
    const auto networks = sampler.next(SubnetSampling::sandwich, 3).value();
    for (const search::Network& network : networks) EXPECT_TRUE(limits.keep(search::cost_of(network)));
    large += static_cast<double>(macs(networks[0]));
    random += static_cast<double>(macs(networks[2]));
    EXPECT_EQ(macs(networks[1]), smallest_);
  }
  EXPECT_GT(large, random);
}

TEST_F(SubnetSamplerTest, SpreadsEvenlyOverTheRangeOfMacs) {
  const CostLimits limits{.macs = 4.0 * static_cast<double>(smallest_)};
  SubnetSampler sampler(*space_, limits, 1);
  std::vector<double> means(4);
  for (int i = 0; i < 20; ++i) {
    const auto networks = sampler.next(SubnetSampling::spread, 4).value();
    ASSERT_EQ(networks.size(), 4u);
    for (std::size_t part = 0; part < 4; ++part) {
      EXPECT_TRUE(limits.keep(search::cost_of(networks[part])));
      means[part] += static_cast<double>(macs(networks[part])) / 20;
    }
  }
  const double step = (means[0] - means[3]) / 3;
  EXPECT_GT(step, 0);
  for (std::size_t part = 0; part < 3; ++part) EXPECT_NEAR(means[part] - means[part + 1], step, 0.4 * step) << part;
}

TEST_F(SubnetSamplerTest, GoesOnFromAPosition) {
  SubnetSampler sampler(*space_, {.macs = 4.0 * static_cast<double>(smallest_)}, 1), other = sampler;
  (void)sampler.next(SubnetSampling::sandwich, 5);
  other.restore(sampler.position());
  const auto expected = sampler.next(SubnetSampling::sandwich, 5).value(),
             networks = other.next(SubnetSampling::sandwich, 5).value();
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_EQ(macs(networks[i]), macs(expected[i]));
}

TEST_F(SubnetSamplerTest, LimitsThatNoNetworkKeepsAreAnError) {
  SubnetSampler sampler(*space_, {.macs = 1000}, 1);
  const auto networks = sampler.next(SubnetSampling::sandwich, 4);
  ASSERT_FALSE(networks);
  EXPECT_THAT(networks.error().message, HasSubstr("keeps the constraints"));
}

}  // namespace
}  // namespace finch::trainer
