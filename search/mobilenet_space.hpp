// The mobilenet space: stages of inverted residual blocks (Sandler 2018, MobileNetV2) with optional squeeze-and-
// excitation and hard swish (Howard 2019, MobileNetV3), of elastic depth, kernel, expansion, width and resolution in
// the manner of Once-for-All (Cai 2020).
#pragma once

#include <expected>
#include <memory>

#include "search/search_space.hpp"

namespace finch::search {

// Presets for images of 28, 32 and 224 pixels: images below 32 take the first, up to 64 the second, up to 512 the
// third; the choices of resolution scale with the image, the image as it is being the greatest.
// Errors: an image smaller than 16 or greater than 512 pixels, not square, no channels, fewer than 2 classes.
std::expected<std::unique_ptr<SearchSpace>, Error> make_mobilenet_space(const SpaceConfig& config);

}  // namespace finch::search
