// The shufflenet space: stages of ShuffleNetV2 units (Ma 2018) in the manner of Single Path One-Shot (Guo 2020): each
// unit chooses its kernel, or the xception branch, and the channels within its branch; depth, width and resolution are
// elastic too.
#pragma once

#include <expected>
#include <memory>

#include "search/search_space.hpp"

namespace finch::search {

// Presets for images of 28, 32 and 224 pixels, chosen and scaled as in the mobilenet space.
// Errors: an image smaller than 16 or greater than 512 pixels, not square, no channels, fewer than 2 classes.
std::expected<std::unique_ptr<SearchSpace>, Error> make_shufflenet_space(const SpaceConfig& config);

}  // namespace finch::search
