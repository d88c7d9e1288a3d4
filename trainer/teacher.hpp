// The teacher: a plain-convolution residual network of Finch's own, or a TorchScript module of the user's. Not thread
// safe.
#pragma once

#include <cstdint>
#include <expected>

#include "search/network.hpp"
#include "trainer/error.hpp"

namespace finch::trainer {

// Residual blocks of 3x3 convolutions (He et al. 2016), which run fast on CPUs; strides grow with the image, so that
// most work is done at 14 x 14 and below. Errors: what the network builder says about the shape.
std::expected<search::Network, Error> teacher_network(const search::TensorShape& image, std::int64_t classes);

}  // namespace finch::trainer
