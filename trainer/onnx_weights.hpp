// The weights in an ONNX file, by the names of the modules that they were exported from. No LibTorch. Pure functions;
// thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/error.hpp"

namespace finch::trainer {

struct OnnxWeights {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

// Of convolutions, linear layers ([out, in]) and BatchNorm: "features.0.0.weight", "features.0.1.running_mean", where
// initializers or the scopes of nodes ("/features/features.0/features.0.0/Conv") still say so. Errors: not ONNX.
std::expected<std::map<std::string, OnnxWeights>, Error> read_onnx_weights(std::string_view bytes);

}  // namespace finch::trainer
