// A network's travel form: search::Network as a protobuf message, and back. Pure functions; thread safe.
#pragma once

#include <expected>

#include "protocol/network.pb.h"
#include "search/network.hpp"
#include "trainer/error.hpp"

namespace finch::trainer {

protocol::NetworkGraph network_message(const search::Network& network);

// Whatever the message holds: a network that NetworkBuilder accepts, or an error that names the node. Besides its
// rules: at most 10,000 nodes, extents and channels of at most 65,536, and names that LibTorch can take (no '/').
std::expected<search::Network, Error> network_of(const protocol::NetworkGraph& message);

}  // namespace finch::trainer
