// Which channels of a network can only be removed together, and the network without some of them: structured pruning
// as far as it concerns shapes (Fang 2023, DepGraph). Pure functions; thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <vector>

#include "search/error.hpp"
#include "search/network.hpp"

namespace finch::search {

struct NodeChannel {
  std::int32_t node = 0;
  std::int64_t channel = 0;

  auto operator<=>(const NodeChannel&) const = default;
};

// The smallest set of channels that can go without the rest: a residual stream's channel in all layers that write it, a
// filter with the depthwise kernel behind it, the channels that one shuffle mixes.
struct ChannelUnit {
  std::vector<NodeChannel> channels;  // of the nodes' outputs, ascending
  // Input channels of the convolutions and fully connected layers that mix what they read; depthwise ones do not.
  std::vector<NodeChannel> read_by;
};

// Units of nodes that have units in common: their number of channels is one decision.
struct ChannelGroup {
  std::vector<ChannelUnit> units;
};

// Every channel that may go, once. The image's channels and the logits stay. Channels that a grouped convolution or a
// shuffle has at the same place of each of its groups go together, so that the groups stay equal.
std::vector<ChannelGroup> channel_groups(const Network& network);

struct PrunedNetwork {
  Network network;                              // the same nodes, by index and name
  std::vector<std::vector<std::int64_t>> kept;  // by node: the channels of its output that stayed, ascending
};

// Error: a node that keeps no channel. REQUIRES: units of channel_groups(network).
std::expected<PrunedNetwork, Error> remove_channels(const Network& network, std::span<const ChannelUnit> units);

}  // namespace finch::search
