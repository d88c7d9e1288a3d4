// What a network costs on paper: exact, cheap, the same on every device. Pure functions.
#pragma once

#include <cstdint>

#include "search/network.hpp"

namespace finch::search {

struct Cost {
  std::int64_t parameters = 0;             // of the deployed network: BatchNorm folded into a bias per channel
  std::int64_t macs = 0;                   // multiply-accumulates of convolutions and fully connected layers, one image
  std::int64_t peak_activation_bytes = 0;  // float32, batch 1, greatest sum of live tensors in topological order
};

std::int64_t node_macs(const Network& network, const Node& node);
std::int64_t node_parameters(const Network& network, const Node& node);
Cost cost_of(const Network& network);

}  // namespace finch::search
