// Chooses the channels to remove from a network: the least important first, over all layers, until it is cheap enough.
// Pure functions; thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <vector>

#include "search/channel_groups.hpp"
#include "search/error.hpp"
#include "search/network.hpp"

namespace finch::search {

enum class PrunedCost { macs, parameters };

struct PruningTarget {
  PrunedCost cost = PrunedCost::macs;
  double keep = 0.5;  // at most this fraction of the cost stays; above 0, below 1
  // Every node keeps so many channels, or all that it has. At least 1.
  std::int64_t min_channels = 8;
  // And a multiple of so many, or all: runtimes compute channels in blocks. At least 1.
  std::int64_t multiple = 8;
};

// By group and unit; greater is more important. A unit of infinite importance stays.
using ChannelImportance = std::vector<std::vector<double>>;

// Removes the units of least importance for the cost that each of them saves (greedy for the knapsack; Shen 2022, HALP,
// does so with latencies), as few as reach the target, then gives a group whose number of channels the target does not
// allow its best units back. Errors: a target out of range, a target that cannot be reached (names what can).
// REQUIRES: groups of channel_groups(network), one importance a unit, not NaN.
std::expected<PrunedNetwork, Error> prune_network(const Network& network, std::span<const ChannelGroup> groups,
                                                  const ChannelImportance& importance, const PruningTarget& target);

const char* to_string(PrunedCost cost);  // "macs", "parameters"

}  // namespace finch::search
