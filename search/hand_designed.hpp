// Networks that people designed, found among those of a space: what a search has to beat. Pure functions; thread safe.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "search/error.hpp"
#include "search/search_space.hpp"

namespace finch::search {

// "mobilenet_v2" (Sandler et al. 2018): inverted residuals with 3 x 3 kernels that expand six times, ReLU, no
// squeeze-and-excitation; "shufflenet_v2" (Ma et al. 2018): units with 3 x 3 kernels. Both with the space's stages, all
// as deep as it goes, at the image's own resolution.
std::vector<std::string> hand_designed_names();

// The built-in space that holds the network. REQUIRES: a name of hand_designed_names().
std::string space_of_hand_designed(std::string_view network);

// Its genotype there. `width` multiplies all channels. Errors: a width that the space does not offer; names those it
// does. REQUIRES: a name of hand_designed_names(), and its space.
std::expected<Genotype, Error> hand_designed(std::string_view network, double width, const SearchSpace& space);

}  // namespace finch::search
