#include "search/network.hpp"

#include <gmock/gmock.h>

namespace finch::search {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr TensorShape kImage{3, 28, 28};

std::string error_of(NetworkBuilder& builder) {
  const auto network = builder.finish();
  return network ? "no error" : network.error().message;
}

// The error of a network whose second node is `operation`, reading the image `inputs` times.
std::string error_with(Operation operation, std::size_t inputs = 1) {
  NetworkBuilder builder(kImage);
  builder.add("node", std::move(operation), std::vector<std::int32_t>(inputs, 0));
  return error_of(builder);
}

TEST(Network, InfersTheShapeOfEveryOperation) {
  NetworkBuilder builder(kImage);
  EXPECT_EQ(builder.shape(0), kImage);
  auto x = builder.add("normalize", Normalize{}, {0});
  EXPECT_EQ(builder.shape(x), kImage);
  x = builder.add("resize", Resize{20, 24}, {x});
  EXPECT_EQ(builder.shape(x), (TensorShape{3, 20, 24}));
  x = builder.add("stem", Convolution{.out_channels = 8, .kernel_size = 3, .stride = 2, .padding = 1}, {x});
  EXPECT_EQ(builder.shape(x), (TensorShape{8, 10, 12}));
  const auto input = x = builder.add("relu", Activation{}, {x});
  EXPECT_EQ(builder.shape(x), (TensorShape{8, 10, 12}));
  x = builder.add("depthwise", Convolution{.out_channels = 8, .kernel_size = 5, .padding = 2, .groups = 8}, {x});
  x = builder.add("add", Add{}, {x, input});
  EXPECT_EQ(builder.shape(x), (TensorShape{8, 10, 12}));
  const auto gate = builder.add("squeeze", GlobalAveragePool{}, {x});
  EXPECT_EQ(builder.shape(gate), (TensorShape{8, 1, 1}));
  x = builder.add("scale", Scale{}, {x, gate});
  EXPECT_EQ(builder.shape(x), (TensorShape{8, 10, 12}));
  x = builder.add("valid", Convolution{.out_channels = 4, .kernel_size = 4, .stride = 3}, {x});
  EXPECT_EQ(builder.shape(x), (TensorShape{4, 3, 3}));  // floor((10 - 4) / 3) + 1, floor((12 - 4) / 3) + 1
  x = builder.add("pool", GlobalAveragePool{}, {x});
  x = builder.add("classifier", Linear{10}, {x});
  EXPECT_EQ(builder.shape(x), (TensorShape{10, 1, 1}));

  const auto network = builder.finish();
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_EQ(network->input_shape(), kImage);
  EXPECT_EQ(network->output_shape(), (TensorShape{10, 1, 1}));
  EXPECT_EQ(network->nodes.size(), 12U);
}

TEST(Network, SlicesJoinsAndShufflesChannels) {
  NetworkBuilder builder({6, 9, 9});
  const auto a = builder.add("a", ChannelSlice{0, 2}, {0});
  const auto b = builder.add("b", ChannelSlice{2, 4}, {0});
  EXPECT_EQ(builder.shape(b), (TensorShape{4, 9, 9}));
  auto x = builder.add("joined", Concat{}, {b, a, b});
  EXPECT_EQ(builder.shape(x), (TensorShape{10, 9, 9}));
  x = builder.add("shuffle", ChannelShuffle{5}, {x});
  EXPECT_EQ(builder.shape(x), (TensorShape{10, 9, 9}));
  x = builder.add("average", AveragePool{.kernel_size = 3, .stride = 2, .padding = 1}, {x});
  EXPECT_EQ(builder.shape(x), (TensorShape{10, 5, 5}));
  builder.add("pool", GlobalAveragePool{}, {x});
  EXPECT_TRUE(builder.finish());
}

TEST(Network, ChannelsThatAreNotThereAreAnError) {
  EXPECT_THAT(error_with(ChannelSlice{2, 2}), HasSubstr("2 channels from 2 on are not in [3, 28, 28]"));
  EXPECT_THAT(error_with(ChannelSlice{0, 0}), HasSubstr("0 channels"));
  EXPECT_THAT(error_with(ChannelShuffle{2}), HasSubstr("2 groups do not divide 3 channels"));
  EXPECT_THAT(error_with(Concat{}), HasSubstr("concat takes 2 or more inputs, not 1"));
  EXPECT_THAT(error_with(AveragePool{.kernel_size = 2, .padding = 2}), HasSubstr("padding less than the kernel size"));
  EXPECT_THAT(error_with(AveragePool{.kernel_size = 29}), HasSubstr("kernel of 29 does not fit"));
  NetworkBuilder builder(kImage);
  builder.add("joined", Concat{}, {0, builder.add("half", Resize{14, 14}, {0})});
  EXPECT_THAT(error_of(builder), HasSubstr("cannot join [3, 28, 28] and [3, 14, 14]"));
}

TEST(Network, StridesRoundUpUnderSamePadding) {
  for (const std::int64_t kernel_size : {1, 3, 5, 7}) {
    for (std::int64_t size = 1; size <= 33; ++size) {
      NetworkBuilder builder({1, size, size});
      const auto x = builder.add(
          "c", Convolution{.out_channels = 1, .kernel_size = kernel_size, .stride = 2, .padding = kernel_size / 2},
          {0});
      EXPECT_EQ(builder.shape(x).height, (size + 1) / 2) << kernel_size << " on " << size;
    }
  }
}

TEST(Network, NamesTheNodeAndTheReasonOfAnError) {
  EXPECT_THAT(error_with(Convolution{.out_channels = 0}), AllOf(HasSubstr("'node' (convolution)"), HasSubstr("1")));
  EXPECT_THAT(error_with(Convolution{.out_channels = 4, .groups = 2}), HasSubstr("2 groups divide neither 3"));
  EXPECT_THAT(error_with(Convolution{.out_channels = 4, .groups = 3}), HasSubstr("3 groups"));
  EXPECT_THAT(error_with(Convolution{.out_channels = 4, .kernel_size = 29}), HasSubstr("kernel of 29 does not fit"));
  EXPECT_THAT(error_with(Convolution{.out_channels = 4, .stride = 0}), HasSubstr("stride"));
  EXPECT_THAT(error_with(Convolution{.out_channels = 4, .padding = -1}), HasSubstr("padding"));
  EXPECT_THAT(error_with(Resize{0, 8}), HasSubstr("resize"));
  EXPECT_THAT(error_with(Linear{10}), HasSubstr("not [3, 28, 28]"));
  EXPECT_THAT(error_with(Scale{}, 2), HasSubstr("cannot scale [3, 28, 28] by [3, 28, 28]"));
  EXPECT_THAT(error_with(Add{}, 1), HasSubstr("add takes 2 inputs, not 1"));
  EXPECT_THAT(error_with(Activation{}, 2), HasSubstr("activation takes 1 inputs, not 2"));
  EXPECT_THAT(error_with(Input{kImage}, 0), HasSubstr("one input"));
}

TEST(Network, AddTakesTwoOfOneShape) {
  NetworkBuilder builder(kImage);
  const auto x = builder.add("half", Resize{14, 14}, {0});
  builder.add("sum", Add{}, {0, x});
  EXPECT_THAT(error_of(builder), HasSubstr("cannot add [3, 28, 28] and [3, 14, 14]"));
}

TEST(Network, LinearNeedsAnOutput) {
  NetworkBuilder builder({3, 1, 1});
  builder.add("classifier", Linear{0}, {0});
  EXPECT_THAT(error_of(builder), HasSubstr("at least one output"));
}

TEST(Network, RefusesAnInputThatIsNoEarlierNode) {
  for (const std::int32_t input : {-1, 1, 7}) {
    NetworkBuilder builder(kImage);
    builder.add("late", Activation{}, {input});
    EXPECT_THAT(error_of(builder), HasSubstr("'late'"));
  }
}

TEST(Network, KeepsTheFirstErrorAndStaysUsable) {
  NetworkBuilder builder(kImage);
  const auto bad = builder.add("bad", Resize{0, 0}, {0});
  EXPECT_EQ(bad, 0);
  const auto after = builder.add("worse", Linear{10}, {bad});
  EXPECT_EQ(after, 0);
  EXPECT_EQ(builder.shape(after), kImage);
  EXPECT_THAT(error_of(builder), HasSubstr("'bad'"));
}

TEST(Network, RefusesAnEmptyImage) {
  NetworkBuilder builder({3, 0, 28});
  const auto x = builder.add("pool", GlobalAveragePool{}, {0});
  EXPECT_EQ(builder.shape(x).channels, 3);
  EXPECT_THAT(error_of(builder), HasSubstr("[3, 0, 28] is empty"));
}

TEST(Network, RefusesAGraphThatIsNoClassifier) {
  {
    NetworkBuilder builder(kImage);
    EXPECT_THAT(error_of(builder), HasSubstr("[classes, 1, 1], not [3, 28, 28]"));
  }
  {
    NetworkBuilder builder(kImage);
    builder.add("pool", GlobalAveragePool{}, {builder.add("pool", Normalize{}, {0})});
    EXPECT_THAT(error_of(builder), HasSubstr("two nodes are named 'pool'"));
  }
  {
    NetworkBuilder builder(kImage);
    builder.add("unused", Normalize{}, {0});
    builder.add("pool", GlobalAveragePool{}, {0});
    EXPECT_THAT(error_of(builder), HasSubstr("nothing reads the node 'unused'"));
  }
  {
    NetworkBuilder builder(kImage);
    builder.add("", GlobalAveragePool{}, {0});
    EXPECT_THAT(error_of(builder), HasSubstr("no name"));
  }
}

TEST(Network, NamesEveryOperation) {
  EXPECT_STREQ(operation_name(Input{}), "input");
  EXPECT_STREQ(operation_name(Convolution{}), "convolution");
  EXPECT_STREQ(operation_name(GlobalAveragePool{}), "global_average_pool");
  EXPECT_STREQ(operation_name(ChannelSlice{}), "channel_slice");
  EXPECT_STREQ(operation_name(Concat{}), "concat");
  EXPECT_STREQ(operation_name(ChannelShuffle{}), "channel_shuffle");
  EXPECT_STREQ(operation_name(AveragePool{}), "average_pool");
  EXPECT_STREQ(operation_name(Linear{}), "linear");
  EXPECT_STREQ(to_string(ActivationKind::hard_swish), "hard_swish");
}

}  // namespace
}  // namespace finch::search
