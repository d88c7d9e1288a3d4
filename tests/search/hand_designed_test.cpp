#include "search/hand_designed.hpp"

#include <gtest/gtest.h>

#include "search/cost_model.hpp"

namespace finch::search {
namespace {

TEST(HandDesignedTest, MobileNetV2HasItsBlocksAndNothingElse) {
  for (const std::int64_t size : {28, 32, 224}) {
    const auto space = make_search_space({.name = "mobilenet", .image = {3, size, size}, .classes = 10}).value();
    const auto genotype = hand_designed("mobilenet_v2", 1, *space).value();
    std::int64_t before = 0;
    for (const Node& node : space->decode(genotype).value().nodes) {
      if (const auto* activation = std::get_if<Activation>(&node.operation))
        EXPECT_EQ(activation->kind, ActivationKind::relu) << node.name;
      const auto* convolution = std::get_if<Convolution>(&node.operation);
      if (convolution == nullptr) continue;
      if (node.name.ends_with("expand")) EXPECT_EQ(convolution->out_channels, 6 * before) << node.name;
      if (convolution->groups > 1) EXPECT_EQ(convolution->kernel_size, 3) << node.name;
      EXPECT_EQ(node.name.find("squeeze"), std::string::npos);
      before = convolution->out_channels;
    }
  }
}

TEST(HandDesignedTest, AWiderOneCostsMore) {
  for (const std::string& name : hand_designed_names()) {
    const auto space =
        make_search_space({.name = space_of_hand_designed(name), .image = {1, 28, 28}, .classes = 10}).value();
    std::int64_t before = 0;
    for (const double width : {0.5, 0.75, 1.0, 1.25}) {
      const auto cost = cost_of(space->decode(hand_designed(name, width, *space).value()).value());
      EXPECT_GT(cost.macs, before) << name << ' ' << width;
      before = cost.macs;
    }
  }
}

TEST(HandDesignedTest, AWidthThatTheSpaceLacksIsNamedWithThoseItHas) {
  const auto space = make_search_space({.name = "shufflenet", .image = {1, 28, 28}, .classes = 10}).value();
  const auto genotype = hand_designed("shufflenet_v2", 0.6, *space);
  ASSERT_FALSE(genotype);
  EXPECT_NE(genotype.error().message.find("has the widths 0.5, 0.75, 1, 1.25"), std::string::npos)
      << genotype.error().message;
}

}  // namespace
}  // namespace finch::search
