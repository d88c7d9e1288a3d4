// The mobilenet space: stages of inverted residual blocks (Sandler 2018, MobileNetV2) with optional squeeze-and-
// excitation and hard swish (Howard 2019, MobileNetV3), of elastic depth, kernel, expansion, width and resolution in
// the manner of Once-for-All (Cai 2020).
#pragma once

#include <expected>
#include <memory>

#include "search/search_space.hpp"

namespace finch::search {

// Sized for images of 28, 32 and 224 pixels: below 32 the first, up to 96 the second, up to 512 the third; resolutions
// scale with the image.
// Errors: an image smaller than 16 or greater than 512 pixels, not square, no channels, fewer than 2 classes.
std::expected<std::unique_ptr<SearchSpace>, Error> make_mobilenet_space(const SpaceConfig& config);

}  // namespace finch::search
