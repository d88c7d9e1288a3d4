// Depthwise convolutions with as many channels as kernels take at once. Pure; thread safe.
#pragma once

#include <expected>

#include "search/network.hpp"
#include "trainer/error.hpp"
#include "trainer/network_weights.hpp"

namespace finch::trainer {

struct PaddedNetwork {
  search::Network network;  // the same nodes, by index and name
  NetworkWeights weights;
};

// The network with channels of zeros behind those of each depthwise convolution, up to a multiple of 16, and behind
// those of whatever they come from and go through: it computes the same. Integer kernels take 16 channels at once and
// each that is left over alone. Channels that are sliced, shuffled, joined or convolved in groups stay as they are.
// Errors: those of check_weights().
std::expected<PaddedNetwork, Error> pad_depthwise_channels(const search::Network& network,
                                                           const NetworkWeights& weights);

}  // namespace finch::trainer
