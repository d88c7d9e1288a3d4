#include "search/shufflenet_space.hpp"

#include <gmock/gmock.h>

#include <map>

#include "search/cost_model.hpp"

namespace finch::search {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<SearchSpace> make(std::int64_t size) {
  return make_shufflenet_space({.name = "shufflenet", .image = {1, size, size}, .classes = 10}).value();
}

TEST(ShufflenetSpace, SmallestNetworkAgreesWithHandComputedCost) {
  const auto space = make(28);
  // resize 14, stem 1 -> 8 at 7 x 7; units to 16 at 7 x 7, to 32 at 4 x 4, to 64 at 2 x 2; head 64 at 2 x 2.
  // A unit at its stage's start: depthwise and 1x1 beside 1x1 at the input's size, depthwise, 1x1.
  const auto unit = [](std::int64_t in, std::int64_t out, std::int64_t before, std::int64_t after) {
    const std::int64_t half = out / 2, mid = half / 2;
    return in * 9 * after + in * half * after + in * mid * before + mid * 9 * after + mid * half * after;
  };
  const Cost cost = cost_of(space->decode(space->smallest()).value());
  EXPECT_EQ(cost.macs,
            8 * 9 * 49 + unit(8, 16, 49, 49) + unit(16, 32, 49, 16) + unit(32, 64, 16, 4) + 64 * 64 * 4 + 640);
}

TEST(ShufflenetSpace, HalfOfTheChannelsPassByWhereShapesAgree) {
  const auto space = make(28);
  Genotype genotype = space->largest();
  std::map<std::string, Node> nodes;
  const Network network = space->decode(genotype).value();
  for (const Node& node : network.nodes) nodes.emplace(node.name, node);
  EXPECT_FALSE(nodes.contains("stage2.block0.passed"));
  ASSERT_TRUE(nodes.contains("stage2.block1.passed"));
  EXPECT_EQ(nodes.at("stage2.block1.passed").shape, (TensorShape{40, 7, 7}));
  EXPECT_EQ(nodes.at("stage2.block1.shuffle").shape, (TensorShape{80, 7, 7}));
  EXPECT_TRUE(nodes.contains("stage2.block1.xception.depthwise2"));
  EXPECT_FALSE(nodes.contains("stage2.block1.branch.depthwise"));
}

TEST(ShufflenetSpace, RefusesWhatItCannotServe) {
  EXPECT_THAT(make_shufflenet_space({.image = {3, 32, 28}, .classes = 10}).error().message,
              HasSubstr("the space shufflenet serves square images of 16 to 512 pixels, not 32 x 28"));
  EXPECT_THAT(make_shufflenet_space({.image = {3, 32, 32}, .classes = 1}).error().message, HasSubstr("2 classes"));
  EXPECT_THAT(make(28)->decode({0}).error().message, HasSubstr("does not belong to the space shufflenet for 28 x 28"));
}

}  // namespace
}  // namespace finch::search
