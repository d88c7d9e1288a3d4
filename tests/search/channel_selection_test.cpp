#include "search/channel_selection.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "search/cost_model.hpp"
#include "tests/search/network_fingerprint.hpp"
#include "tests/search/sample_spaces.hpp"

namespace finch::search {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

ChannelImportance random_importance(const std::vector<ChannelGroup>& groups, std::mt19937_64& generator) {
  ChannelImportance importance;
  for (const ChannelGroup& group : groups) {
    for (auto& values = importance.emplace_back(); values.size() < group.units.size();)
      values.push_back(std::generate_canonical<double, 53>(generator));
  }
  return importance;
}

double share(const Network& pruned, const Network& network, PrunedCost kind) {
  const Cost after = cost_of(pruned), before = cost_of(network);
  return kind == PrunedCost::macs ? static_cast<double>(after.macs) / static_cast<double>(before.macs)
                                  : static_cast<double>(after.parameters) / static_cast<double>(before.parameters);
}

class ChannelSelection : public testing::TestWithParam<NamedSpace> {
 protected:
  std::mt19937_64 generator_{9};
};

INSTANTIATE_TEST_SUITE_P(Spaces, ChannelSelection, testing::ValuesIn(small_image_spaces()),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST_P(ChannelSelection, ReachesTheTargetWithChannelsThatItAllows) {
  int reached = 0;
  for (int i = 0; i < 10; ++i) {
    const Network network = random_network(GetParam().config, generator_);
    const auto groups = channel_groups(network);
    const ChannelImportance importance = random_importance(groups, generator_);
    for (const PruningTarget& target : {PruningTarget{.keep = 0.7},
                                        {.cost = PrunedCost::parameters, .keep = 0.5, .multiple = 4},
                                        {.keep = 0.2, .min_channels = 1, .multiple = 1}}) {
      const auto pruned = prune_network(network, groups, importance, target);
      if (!pruned) {
        EXPECT_THAT(pruned.error().message, HasSubstr("pruning cannot get down to"));
        continue;
      }
      ++reached;
      EXPECT_LE(share(pruned->network, network, target.cost), target.keep);
      for (std::size_t n = 0; n < network.nodes.size(); ++n) {
        const std::int64_t kept = pruned->network.nodes[n].shape.channels;
        if (kept == network.nodes[n].shape.channels) continue;
        EXPECT_GE(kept, target.min_channels) << network.nodes[n].name;
        EXPECT_EQ(kept % target.multiple, 0) << network.nodes[n].name;
      }
    }
  }
  EXPECT_GE(reached, 15);
}

TEST_P(ChannelSelection, AGreaterTargetKeepsEveryChannelOfASmallerOne) {
  const Network network = random_network(GetParam().config, generator_);
  const auto groups = channel_groups(network);
  const ChannelImportance importance = random_importance(groups, generator_);
  const auto more = prune_network(network, groups, importance, {.keep = 0.8, .multiple = 4});
  const auto less = prune_network(network, groups, importance, {.keep = 0.6, .multiple = 4});
  ASSERT_TRUE(more && less);
  for (std::size_t n = 0; n < network.nodes.size(); ++n)
    EXPECT_TRUE(std::ranges::includes(more->kept[n], less->kept[n])) << network.nodes[n].name;
}

// Two convolutions of 1x1 on one pixel: a unit of the first saves 2 + 8 MACs, of the second 8 + 3.
class TwoConvolutions : public testing::Test {
 protected:
  TwoConvolutions() {
    NetworkBuilder builder({2, 1, 1});
    std::int32_t x = builder.add("a", Convolution{.out_channels = 8}, {0});
    x = builder.add("b", Convolution{.out_channels = 8}, {x});
    builder.add("classifier", Linear{3}, {x});
    network_ = builder.finish().value();
    groups_ = channel_groups(network_);
  }
  Network network_;
  std::vector<ChannelGroup> groups_;
  ChannelImportance importance_ = {{5, 1, 6, 7, 8, 9, 10, 11}, {5, 6, 7, 8, 9, 10, 11, 1.05}};
};

TEST_F(TwoConvolutions, TheLeastImportantForItsCostGoesFirst) {
  const auto pruned = prune_network(network_, groups_, importance_, {.keep = 0.9, .min_channels = 1, .multiple = 1});
  ASSERT_TRUE(pruned);
  // 1.05 / 11 is less than 1 / 10, and one of them is enough: 93 of 104 MACs.
  EXPECT_THAT(pruned->kept[1], ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(pruned->kept[2], ElementsAre(0, 1, 2, 3, 4, 5, 6));
}

TEST_F(TwoConvolutions, AGroupTakesItsBestUnitsBackUntilTheirNumberIsAllowed) {
  const auto pruned = prune_network(network_, groups_, importance_, {.keep = 0.7, .min_channels = 1, .multiple = 4});
  ASSERT_TRUE(pruned);
  // The fourth worst of the second convolution is worth 7 / 11, that of the first 7 / 10.
  EXPECT_THAT(pruned->kept[1], ElementsAre(0, 1, 2, 3, 4, 5, 6, 7));
  EXPECT_THAT(pruned->kept[2], ElementsAre(3, 4, 5, 6));
}

TEST_F(TwoConvolutions, InfinitelyImportantUnitsStay) {
  importance_[0].assign(8, std::numeric_limits<double>::infinity());
  const auto pruned = prune_network(network_, groups_, importance_, {.keep = 0.7, .min_channels = 1, .multiple = 1});
  ASSERT_TRUE(pruned);
  EXPECT_EQ(pruned->kept[1].size(), 8);
}

TEST_F(TwoConvolutions, NamesATargetThatCannotBe) {
  const auto message = [&](const PruningTarget& target) {
    const auto pruned = prune_network(network_, groups_, importance_, target);
    return pruned ? std::string() : pruned.error().message;
  };
  EXPECT_THAT(message({.keep = 1}), HasSubstr("above 0 and below 1, not 1"));
  EXPECT_THAT(message({.keep = std::nan("")}), HasSubstr("above 0 and below 1"));
  EXPECT_THAT(message({.multiple = 0}), HasSubstr("at least 1"));
  // 4 channels each: 2 * 4 + 4 * 4 + 4 * 3 of 104.
  EXPECT_THAT(message({.keep = 0.1, .min_channels = 4, .multiple = 4}), HasSubstr("35 % stay"));
}

}  // namespace
}  // namespace finch::search
