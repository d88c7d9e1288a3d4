// Normalisation that is part of the weights behind it. Pure; thread safe.
#pragma once

#include "search/network.hpp"
#include "trainer/network_weights.hpp"

namespace finch::trainer {

// The same network's weights with the standard deviation of images divided into the convolutions that read them, and 1
// in its place: a pass over the image less. The mean stays, as padding is a normalised zero, which no bias can stand
// for. Where something else than a convolution of all channels reads an image: the weights as they are.
// REQUIRES: the weights fit the network.
NetworkWeights fold_stddev(const search::Network& network, NetworkWeights weights);

}  // namespace finch::trainer
