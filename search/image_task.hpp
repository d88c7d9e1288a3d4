// What all spaces share about the task: the images they serve and the resolutions they choose from. Pure functions.
#pragma once

#include <cstddef>
#include <expected>
#include <format>
#include <span>
#include <string_view>
#include <vector>

#include "search/search_space.hpp"

namespace finch::search {

// Errors: images that are not square, smaller than `smallest` or greater than 512 pixels, without channels; fewer than
// 2 classes. The message names the space.
std::expected<void, Error> check_task(std::string_view space, const SpaceConfig& config, std::int64_t smallest);

// Which of three presets serves the images: 0 below 32 pixels (designed for 28), 1 up to 64 (for 32), 2 above (for
// 224).
std::size_t preset_for(const TensorShape& image);

// `resolutions` of images of `designed_for` pixels, scaled to images of `size`; never below 8.
std::vector<std::int64_t> scaled_resolutions(std::span<const std::int64_t> resolutions, std::int64_t designed_for,
                                             std::int64_t size);

// The image normalised and, where the resolution differs, resized: "normalize", "resize".
std::int32_t prepared_image(NetworkBuilder& builder, std::int64_t resolution);

// Choices as the decisions list them.
template <typename Range>
std::vector<std::string> labels(const Range& values) {
  std::vector<std::string> all;
  for (const auto& value : values) all.push_back(std::format("{}", value));
  return all;
}

}  // namespace finch::search
