// Whether weights can be written with a network. Pure; thread safe.
#pragma once

#include <expected>

#include "search/network.hpp"
#include "trainer/error.hpp"
#include "trainer/network_weights.hpp"

namespace finch::trainer {

// Errors: a layer without weights, weights of another size than the network's, a mean or stddev that does not fit,
// values that are not finite.
std::expected<void, Error> check_weights(const search::Network& network, const NetworkWeights& weights);

}  // namespace finch::trainer
