// A space of the user's own, made from its description: stages of elastic depth and width whose blocks choose their
// type, kernel and inner channels.
#pragma once

#include <expected>
#include <memory>

#include "search/search_space.hpp"

namespace finch::search {

// Errors: the first of problems_of(*config.custom), an image that is not square or outside 8 .. 512 pixels.
// REQUIRES: config.custom.
std::expected<std::unique_ptr<SearchSpace>, Error> make_custom_space(const SpaceConfig& config);

}  // namespace finch::search
