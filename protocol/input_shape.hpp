// Shapes of a model's inputs as people write them. Pure functions; thread safe.
#pragma once

#include <expected>
#include <string>

#include "protocol/error.hpp"
#include "protocol/farm.pb.h"

namespace finch::protocol {

// "image=1,3,224,224". Error: it is something else, or an extent is below 1.
std::expected<InputShape, Error> parse_input_shape(const std::string& text);

}  // namespace finch::protocol
