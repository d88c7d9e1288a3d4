// What a device runs of a network, in parts whose costs about add up, as tables of layer latencies assume
// (Cai 2019, ProxylessNAS). Pure function.
#pragma once

#include <vector>

#include "search/network.hpp"

namespace finch::search {

// In millions: multiply-accumulates of each kind of convolution and of the linear layers; elements that convolutions,
// each activation, sums and gates, movements of channels, and pooling write; parameters; all multiply-accumulates, all
// elements. Then the number of nodes. As many for every network.
std::vector<double> workload_of(const Network& network);

}  // namespace finch::search
