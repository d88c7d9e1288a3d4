#include "search/cost_model.hpp"

#include <gtest/gtest.h>

#include <format>

namespace finch::search {
namespace {

TEST(CostModel, AgreesWithAHandComputedNetwork) {
  NetworkBuilder builder({3, 8, 8});
  auto x = builder.add("normalize", Normalize{}, {0});
  x = builder.add("stem", Convolution{.out_channels = 4, .kernel_size = 3, .stride = 2, .padding = 1}, {x});
  const auto wide = x = builder.add("relu", Activation{}, {x});
  x = builder.add("squeeze", GlobalAveragePool{}, {x});
  x = builder.add("reduce", Convolution{.out_channels = 2, .bias = true, .batch_norm = false}, {x});
  x = builder.add("excite", Convolution{.out_channels = 4, .bias = false, .batch_norm = false}, {x});
  x = builder.add("gate", Activation{ActivationKind::hard_sigmoid}, {x});
  x = builder.add("scale", Scale{}, {wide, x});
  x = builder.add("grouped", Convolution{.out_channels = 8, .kernel_size = 3, .padding = 1, .groups = 2}, {x});
  x = builder.add("pool", GlobalAveragePool{}, {x});
  builder.add("classifier", Linear{5}, {x});
  const auto network = builder.finish();
  ASSERT_TRUE(network) << network.error().message;

  struct Expected {
    const char* name;
    std::int64_t macs, parameters;
  };
  const Expected expected[] = {
      {"stem", 4 * 4 * 4 * 27, 4 * 27 + 4},             // [4, 4, 4], 3 x 3 x 3 weights, folded BatchNorm
      {"reduce", 2 * 4, 2 * 4 + 2},                     // with bias
      {"excite", 4 * 2, 4 * 2},                         // neither bias nor BatchNorm
      {"grouped", 8 * 4 * 4 * (2 * 9), 8 * 2 * 9 + 8},  // two input channels a group
      {"classifier", 5 * 8, 5 * 8 + 5},
  };
  std::int64_t macs = 0, parameters = 0;
  for (const Node& node : network->nodes) {
    Expected want{node.name.c_str(), 0, 0};
    for (const Expected& candidate : expected) {
      if (candidate.name == node.name) want = candidate;
    }
    EXPECT_EQ(node_macs(*network, node), want.macs) << node.name;
    EXPECT_EQ(node_parameters(*network, node), want.parameters) << node.name;
    macs += want.macs;
    parameters += want.parameters;
  }
  const Cost cost = cost_of(*network);
  EXPECT_EQ(cost.macs, macs);
  EXPECT_EQ(cost.parameters, parameters);
  EXPECT_EQ(cost.peak_activation_bytes, 4 * (192 + 192));  // image and its normalised copy, [3, 8, 8] each
}

TEST(CostModel, AShortcutKeepsItsTensorAlive) {
  const auto peak = [](bool shortcut) {
    NetworkBuilder builder({1, 4, 4});
    const auto in = builder.add("in", Convolution{.out_channels = 2}, {0});
    auto x = builder.add("wide", Convolution{.out_channels = 8}, {in});
    x = builder.add("relu", Activation{}, {x});
    x = builder.add("narrow", Convolution{.out_channels = 2}, {x});
    if (shortcut) x = builder.add("add", Add{}, {x, in});
    builder.add("pool", GlobalAveragePool{}, {x});
    return cost_of(*builder.finish()).peak_activation_bytes;
  };
  EXPECT_EQ(peak(false), 4 * 16 * (8 + 8));
  EXPECT_EQ(peak(true), 4 * 16 * (2 + 8 + 8));
}

// Sandler 2018, table 2, at width 1.0 and 224 x 224: 300 million MACs, 3.4 million parameters. The reference
// implementation in torchvision has 3,504,872, of which its BatchNorm layers hold two a channel of 17,056; folded, one
// is left.
TEST(CostModel, AgreesWithThePublishedMobileNetV2) {
  NetworkBuilder builder({3, 224, 224});
  auto x = builder.add("stem", Convolution{.out_channels = 32, .kernel_size = 3, .stride = 2, .padding = 1}, {0});
  struct Row {
    std::int64_t expand_ratio, channels, repeats, stride;
  };
  int block = 0;
  for (const Row& row : {Row{1, 16, 1, 1}, Row{6, 24, 2, 2}, Row{6, 32, 3, 2}, Row{6, 64, 4, 2}, Row{6, 96, 3, 1},
                         Row{6, 160, 3, 2}, Row{6, 320, 1, 1}}) {
    for (std::int64_t i = 0; i < row.repeats; ++i, ++block) {
      const auto name = [&](const char* part) { return std::format("block{}.{}", block, part); };
      const std::int64_t in = builder.shape(x).channels, expanded = in * row.expand_ratio;
      const std::int64_t stride = i == 0 ? row.stride : 1;
      auto y = x;
      if (row.expand_ratio > 1) y = builder.add(name("expand"), Convolution{.out_channels = expanded}, {y});
      y = builder.add(
          name("depthwise"),
          Convolution{.out_channels = expanded, .kernel_size = 3, .stride = stride, .padding = 1, .groups = expanded},
          {y});
      y = builder.add(name("project"), Convolution{.out_channels = row.channels}, {y});
      x = stride == 1 && in == row.channels ? builder.add(name("add"), Add{}, {x, y}) : y;
    }
  }
  x = builder.add("head", Convolution{.out_channels = 1280}, {x});
  x = builder.add("pool", GlobalAveragePool{}, {x});
  builder.add("classifier", Linear{1000}, {x});
  const auto network = builder.finish();
  ASSERT_TRUE(network) << network.error().message;
  const Cost cost = cost_of(*network);
  EXPECT_EQ(cost.parameters, 3'504'872 - 17'056);
  EXPECT_NEAR(static_cast<double>(cost.macs), 300.8e6, 0.1e6);
}

}  // namespace
}  // namespace finch::search
