#include "trainer/channel_padding.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "search/search_space.hpp"
#include "tests/trainer/deployed_file.hpp"
#include "trainer/calibration.hpp"
#include "trainer/onnx_writer.hpp"

namespace finch::trainer {
namespace {

namespace ir = finch::search;

bool is_depthwise(const ir::Node& node) {
  const auto* convolution = std::get_if<ir::Convolution>(&node.operation);
  return convolution != nullptr && convolution->groups > 1 && convolution->groups == convolution->out_channels;
}

// Through activations and depthwise convolutions: whether a convolution of all channels makes what node i gives.
bool comes_from_a_convolution(const ir::Network& network, std::size_t i) {
  const ir::Node& node = network.nodes[i];
  if (std::holds_alternative<ir::Activation>(node.operation) || is_depthwise(node))
    return comes_from_a_convolution(network, static_cast<std::size_t>(node.inputs[0]));
  return std::holds_alternative<ir::Convolution>(node.operation);
}

void expect_same_outputs(const ir::SpaceConfig& config, int networks) {
  const auto space = ir::make_search_space(config).value();
  std::mt19937_64 generator(11);
  const auto channels = static_cast<std::size_t>(config.image.channels);
  std::int64_t padded_nodes = 0;
  for (int i = 0; i < networks; ++i) {
    ir::Genotype genotype = space->random(generator);
    while (!space->decode(genotype)) genotype = space->random(generator);
    SCOPED_TRACE(ir::to_string(genotype));
    torch::manual_seed(i);
    NetworkModule module(space->decode(genotype).value(), std::vector<float>(channels, 0.3F),
                         std::vector<float>(channels, 0.25F));
    disturb_statistics(module);
    module.eval();
    const ir::Network& network = module.network();
    const NetworkWeights weights = module.fold();
    const auto padded = pad_depthwise_channels(network, weights);
    ASSERT_TRUE(padded) << padded.error().message;
    ASSERT_EQ(padded->network.nodes.size(), network.nodes.size());
    for (std::size_t n = 0; n < network.nodes.size(); ++n) {
      const ir::Node &before = network.nodes[n], &after = padded->network.nodes[n];
      EXPECT_EQ(after.name, before.name);
      EXPECT_EQ(after.inputs, before.inputs);
      EXPECT_GE(after.shape.channels, before.shape.channels);
      EXPECT_LT(after.shape.channels, before.shape.channels + 16);
      padded_nodes += after.shape.channels != before.shape.channels;
      if (is_depthwise(before) && comes_from_a_convolution(network, n)) {
        EXPECT_EQ(after.shape.channels % 16, 0) << before.name;
      }
    }

    const torch::Tensor images = torch::rand({3, config.image.channels, config.image.height, config.image.width});
    const auto run = [&](const std::expected<std::string, Error>& file) {
      EXPECT_TRUE(file) << file.error().message;
      return run_file(*file, images, config.classes);
    };
    const torch::Tensor floats = run(write_onnx(network, weights, {}, BatchDimension::dynamic));
    const torch::Tensor padded_floats = run(write_onnx(padded->network, padded->weights, {}, BatchDimension::dynamic));
    EXPECT_TRUE(torch::allclose(padded_floats, floats, 1e-4, 1e-5 * floats.abs().max().item<double>()));

    const auto ranges = calibrate(module, random_images(config.image, 8), {});
    const auto plan = plan_quantization(network, ranges, {});
    ASSERT_TRUE(plan) << plan.error().message;
    const torch::Tensor integers = run(write_quantized_onnx(network, weights, *plan, {}, BatchDimension::dynamic));
    const torch::Tensor padded_integers =
        run(write_quantized_onnx(padded->network, padded->weights, *plan, {}, BatchDimension::dynamic));
    EXPECT_TRUE(torch::equal(padded_integers, integers));
  }
  EXPECT_EQ(padded_nodes > 0, config.name != "nasbench201");  // which has no depthwise convolutions
}

TEST(ChannelPaddingTest, ChangesNoOutputInTheMobilenetSpace) {
  expect_same_outputs({"mobilenet", {1, 28, 28}, 10}, 8);
  expect_same_outputs({"mobilenet", {3, 32, 32}, 7}, 4);
}
TEST(ChannelPaddingTest, ChangesNoOutputInTheShufflenetSpace) {
  expect_same_outputs({"shufflenet", {1, 28, 28}, 10}, 8);
}
TEST(ChannelPaddingTest, ChangesNoOutputInTheNasbench201Space) {
  expect_same_outputs({"nasbench201", {1, 28, 28}, 10}, 2);
}

// The depthwise convolution of a network that `append` makes from 10 channels; gives its channels when padded.
std::int64_t padded_behind(const std::function<std::int32_t(ir::NetworkBuilder&, std::int32_t)>& append) {
  ir::NetworkBuilder builder({3, 6, 6});
  std::int32_t x = builder.add("stem", ir::Convolution{.out_channels = 10}, {0});
  x = append(builder, x);
  const std::int64_t channels = builder.shape(x).channels;
  x = builder.add("depthwise", ir::Convolution{.out_channels = channels, .groups = channels}, {x});
  const std::int32_t depthwise = x;
  x = builder.add("pool", ir::GlobalAveragePool{}, {x});
  builder.add("classifier", ir::Linear{.out_features = 5}, {x});
  NetworkModule module(builder.finish().value(), {0, 0, 0}, {1, 1, 1});
  const auto padded = pad_depthwise_channels(module.network(), module.fold());
  EXPECT_TRUE(padded) << padded.error().message;
  return padded->network.nodes[static_cast<std::size_t>(depthwise)].shape.channels;
}

TEST(ChannelPaddingTest, WidensWhatTheChannelsGoThrough) {
  EXPECT_EQ(padded_behind([](ir::NetworkBuilder&, std::int32_t x) { return x; }), 16);
  EXPECT_EQ(padded_behind([](ir::NetworkBuilder& builder, std::int32_t x) {
              const std::int32_t pool = builder.add("squeeze", ir::GlobalAveragePool{}, {x});
              const std::int32_t gate = builder.add("gate", ir::Convolution{.out_channels = 10}, {pool});
              x = builder.add("scale", ir::Scale{}, {x, gate});
              const std::int32_t branch = builder.add("branch", ir::Convolution{.out_channels = 10}, {x});
              return builder.add("add", ir::Add{}, {x, branch});
            }),
            16);
}

TEST(ChannelPaddingTest, LeavesAloneWhereChannelsAreMovedOrGrouped) {
  EXPECT_EQ(padded_behind([](ir::NetworkBuilder& builder, std::int32_t x) {
              return builder.add("slice", ir::ChannelSlice{.begin = 2, .count = 6}, {x});
            }),
            6);
  EXPECT_EQ(padded_behind([](ir::NetworkBuilder& builder, std::int32_t x) {
              return builder.add("shuffle", ir::ChannelShuffle{.groups = 2}, {x});
            }),
            10);
  EXPECT_EQ(padded_behind([](ir::NetworkBuilder& builder, std::int32_t x) {
              return builder.add("concat", ir::Concat{}, {x, x});
            }),
            20);
  EXPECT_EQ(padded_behind([](ir::NetworkBuilder& builder, std::int32_t x) {
              return builder.add("grouped", ir::Convolution{.out_channels = 10, .groups = 2}, {x});
            }),
            10);
  // The image's three channels.
  ir::NetworkBuilder builder({3, 6, 6});
  std::int32_t x = builder.add("depthwise", ir::Convolution{.out_channels = 3, .groups = 3}, {0});
  x = builder.add("pool", ir::GlobalAveragePool{}, {x});
  builder.add("classifier", ir::Linear{.out_features = 5}, {x});
  NetworkModule module(builder.finish().value(), {0, 0, 0}, {1, 1, 1});
  EXPECT_EQ(pad_depthwise_channels(module.network(), module.fold())->network.nodes[1].shape.channels, 3);
}

}  // namespace
}  // namespace finch::trainer
