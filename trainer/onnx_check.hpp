// Whether a foreign ONNX file can stand in a classifier's place. Pure functions; thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <string_view>

#include "search/network.hpp"
#include "trainer/error.hpp"

namespace finch::trainer {

// Errors: not ONNX; another input than float32 `image` [N, C, H, W] or another output than float32 `logits`
// [N, classes] (an open dimension fits any); weights that are not finite or lie outside the file.
std::expected<void, Error> check_classifier(std::string_view bytes, const search::TensorShape& image,
                                            std::int64_t classes);

}  // namespace finch::trainer
