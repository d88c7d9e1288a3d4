// Spaces and random networks of them, for what must hold in every network. Pure functions of their arguments.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "search/channel_groups.hpp"
#include "search/search_space.hpp"
#include "tests/search/sample_custom_space.hpp"

namespace finch::search {

struct NamedSpace {
  const char* name;
  SpaceConfig config;
};

inline void PrintTo(const NamedSpace& space, std::ostream* out) {
  *out << space.name;
}

inline std::vector<NamedSpace> small_image_spaces() {
  return {{"mobilenet", {"mobilenet", {1, 28, 28}, 10}},
          {"shufflenet", {"shufflenet", {3, 32, 32}, 10}},
          {"nasbench201", {"nasbench201", {3, 32, 32}, 10}},
          {"custom", {"mine", {1, 28, 28}, 10, sample_custom_space()}}};
}

inline Network random_network(const SpaceConfig& config, std::mt19937_64& generator) {
  const auto space = make_search_space(config).value();
  while (true) {
    if (auto network = space->decode(space->random(generator))) return *network;  // some cells compute nothing
  }
}

// A third of the units, drawn at random, that leave every node a channel.
inline std::vector<ChannelUnit> random_selection(const Network& network, const std::vector<ChannelGroup>& groups,
                                                 std::mt19937_64& generator) {
  std::vector<std::int64_t> left;
  for (const Node& node : network.nodes) left.push_back(node.shape.channels);
  std::vector<ChannelUnit> selection;
  for (const ChannelGroup& group : groups) {
    for (const ChannelUnit& unit : group.units) {
      std::vector<std::int64_t> then = left;
      for (const NodeChannel& at : unit.channels) --then[static_cast<std::size_t>(at.node)];
      if (generator() % 3 != 0 || std::ranges::contains(then, 0)) continue;
      left = then;
      selection.push_back(unit);
    }
  }
  return selection;
}

}  // namespace finch::search
