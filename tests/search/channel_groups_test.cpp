#include "search/channel_groups.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <set>

#include "search/cost_model.hpp"
#include "tests/search/network_fingerprint.hpp"
#include "tests/search/sample_spaces.hpp"

namespace finch::search {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

std::vector<NodeChannel> channels(const std::vector<ChannelGroup>& groups) {
  std::vector<NodeChannel> all;
  for (const ChannelGroup& group : groups) {
    for (const ChannelUnit& unit : group.units) all.insert(all.end(), unit.channels.begin(), unit.channels.end());
  }
  return all;
}

class ChannelGroups : public testing::TestWithParam<NamedSpace> {
 protected:
  Network any() { return random_network(GetParam().config, generator_); }
  std::mt19937_64 generator_{5};
};

INSTANTIATE_TEST_SUITE_P(Spaces, ChannelGroups, testing::ValuesIn(small_image_spaces()),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST_P(ChannelGroups, HoldEveryChannelOnceSaveThoseOfTheImageAndTheLogits) {
  for (int i = 0; i < 20; ++i) {
    const Network network = any();
    const std::vector<NodeChannel> all = channels(channel_groups(network));
    const std::set<NodeChannel> distinct(all.begin(), all.end());
    EXPECT_EQ(distinct.size(), all.size());
    const auto preparation = std::ranges::count_if(network.nodes, [](const Node& node) {
      return node.name == "image" || node.name == "normalize" || node.name == "resize";
    });
    std::int64_t expected = 0;
    for (const Node& node : network.nodes) expected += node.shape.channels;
    expected -= preparation * network.input_shape().channels + network.output_shape().channels;
    EXPECT_EQ(std::ssize(all), expected);
  }
}

TEST_P(ChannelGroups, AnySelectionLeavesANetworkOfTheChannelsThatAreKept) {
  for (int i = 0; i < 20; ++i) {
    const Network network = any();
    const std::vector<ChannelUnit> selection = random_selection(network, channel_groups(network), generator_);
    const auto pruned = remove_channels(network, selection);
    ASSERT_TRUE(pruned) << pruned.error().message << '\n' << fingerprint(network);
    EXPECT_EQ(pruned->network.input_shape(), network.input_shape());
    EXPECT_EQ(pruned->network.output_shape(), network.output_shape());
    ASSERT_EQ(pruned->network.nodes.size(), network.nodes.size());
    for (std::size_t n = 0; n < network.nodes.size(); ++n) {
      EXPECT_EQ(pruned->network.nodes[n].name, network.nodes[n].name);
      EXPECT_EQ(pruned->network.nodes[n].shape.channels, std::ssize(pruned->kept[n]));
      EXPECT_EQ(pruned->network.nodes[n].shape.height, network.nodes[n].shape.height);
    }
    EXPECT_LT(cost_of(pruned->network).macs, cost_of(network).macs);
    EXPECT_LT(cost_of(pruned->network).parameters, cost_of(network).parameters);
  }
}

TEST_P(ChannelGroups, NoSelectionIsTheSameNetwork) {
  const Network network = any();
  EXPECT_EQ(fingerprint(remove_channels(network, {}).value().network), fingerprint(network));
}

class SmallNetwork : public testing::Test {
 protected:
  std::int32_t conv(std::int64_t out, std::int32_t from, std::int64_t groups = 1) {
    return builder_.add("conv" + std::to_string(count_++), Convolution{.out_channels = out, .groups = groups}, {from});
  }
  void classify(std::int32_t x) {
    x = builder_.add("pool", GlobalAveragePool{}, {x});
    builder_.add("classifier", Linear{3}, {x});
    network_ = builder_.finish().value();
    groups_ = channel_groups(network_);
  }
  // The channels of `node` in the unit that holds `channel` of `of`.
  std::vector<std::int64_t> tied(std::int32_t of, std::int64_t channel, std::int32_t node) const {
    std::vector<std::int64_t> result;
    for (const ChannelGroup& group : groups_) {
      for (const ChannelUnit& unit : group.units) {
        if (!std::ranges::contains(unit.channels, NodeChannel{of, channel})) continue;
        for (const NodeChannel& at : unit.channels) {
          if (at.node == node) result.push_back(at.channel);
        }
      }
    }
    return result;
  }

  NetworkBuilder builder_{{2, 4, 4}};
  int count_ = 0;
  Network network_;
  std::vector<ChannelGroup> groups_;
};

TEST_F(SmallNetwork, AResidualSumTiesTheChannelsOfBothWays) {
  const std::int32_t a = conv(4, 0), b = conv(4, a);
  const std::int32_t sum = builder_.add("sum", Add{}, {a, b});
  classify(sum);
  ASSERT_THAT(groups_, SizeIs(1));
  EXPECT_THAT(groups_[0].units, SizeIs(4));
  EXPECT_THAT(tied(a, 2, b), ElementsAre(2));
  EXPECT_THAT(tied(a, 2, sum), ElementsAre(2));
  const std::int32_t classifier = static_cast<std::int32_t>(network_.nodes.size()) - 1;
  EXPECT_THAT(groups_[0].units[2].read_by, ElementsAre(NodeChannel{b, 2}, NodeChannel{classifier, 2}));
}

TEST_F(SmallNetwork, IndependentConvolutionsAreGroupsOfTheirOwn) {
  const std::int32_t a = conv(4, 0), b = conv(6, a);
  classify(b);
  ASSERT_THAT(groups_, SizeIs(2));
  EXPECT_THAT(groups_[0].units, SizeIs(4));
  EXPECT_THAT(groups_[1].units, SizeIs(6));
}

TEST_F(SmallNetwork, ADepthwiseKernelGoesWithItsInput) {
  const std::int32_t a = conv(4, 0), b = conv(8, a, 4);
  classify(b);
  EXPECT_THAT(groups_, SizeIs(1));
  EXPECT_THAT(tied(a, 1, b), ElementsAre(2, 3));
  const auto pruned = remove_channels(network_, {&groups_[0].units[1], 1});
  EXPECT_EQ(std::get<Convolution>(pruned->network.nodes[static_cast<std::size_t>(b)].operation).groups, 3);
}

TEST_F(SmallNetwork, GroupsOfAConvolutionStayEqual) {
  const std::int32_t a = conv(6, 0), b = conv(4, a, 2);
  classify(b);
  EXPECT_THAT(tied(a, 1, a), ElementsAre(1, 4));
  EXPECT_THAT(tied(b, 0, b), ElementsAre(0, 2));
  const auto pruned = remove_channels(network_, {&groups_[0].units[1], 1});
  EXPECT_EQ(std::get<Convolution>(pruned->network.nodes[static_cast<std::size_t>(b)].operation).groups, 2);
}

TEST_F(SmallNetwork, AGateGoesWithWhatItScales) {
  const std::int32_t a = conv(4, 0);
  const std::int32_t squeeze = builder_.add("squeeze", GlobalAveragePool{}, {a});
  const std::int32_t reduce = conv(2, squeeze), excite = conv(4, reduce);
  classify(builder_.add("scaled", Scale{}, {a, excite}));
  EXPECT_THAT(groups_, SizeIs(2));
  EXPECT_THAT(tied(a, 3, excite), ElementsAre(3));
}

TEST_F(SmallNetwork, AShuffleMixesWhatGoesTogether) {
  const std::int32_t a = conv(3, 0), b = conv(3, 0);
  const std::int32_t joined = builder_.add("joined", Concat{}, {a, b});
  const std::int32_t shuffled = builder_.add("shuffled", ChannelShuffle{2}, {joined});
  const std::int32_t first = builder_.add("first", ChannelSlice{0, 3}, {shuffled});
  const std::int32_t second = builder_.add("second", ChannelSlice{3, 3}, {shuffled});
  classify(builder_.add("sum", Concat{}, {conv(2, first), conv(2, second)}));
  EXPECT_THAT(tied(a, 1, b), ElementsAre(1));
  EXPECT_THAT(tied(a, 1, joined), ElementsAre(1, 4));
  EXPECT_THAT(tied(a, 1, shuffled), ElementsAre(2, 3));
  EXPECT_THAT(tied(a, 1, first), ElementsAre(2));
  EXPECT_THAT(tied(a, 1, second), ElementsAre(0));
  const auto pruned = remove_channels(network_, {&groups_[0].units[0], 1});
  ASSERT_TRUE(pruned);
  const Operation& slice = pruned->network.nodes[static_cast<std::size_t>(second)].operation;
  EXPECT_EQ(std::get<ChannelSlice>(slice).begin, 1);
  EXPECT_EQ(std::get<ChannelSlice>(slice).count, 3);
}

TEST_F(SmallNetwork, ANodeKeepsAChannel) {
  const std::int32_t a = conv(4, 0);
  classify(a);
  const auto pruned = remove_channels(network_, groups_[0].units);
  ASSERT_FALSE(pruned);
  EXPECT_THAT(pruned.error().message, HasSubstr("'conv0' would keep no channel"));
}

}  // namespace
}  // namespace finch::search
