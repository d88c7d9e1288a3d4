// Reads an ONNX file, whoever wrote it, as a network and its weights. No LibTorch. Pure functions; thread safe.
//
// Operators: Conv (square, also grouped and depthwise) with BatchNormalization behind it, Gemm, MatMul and Add, Relu,
// Clip(0, 6), HardSwish, HardSigmoid, Sigmoid, and x * Sigmoid(x), Add, Mul by a gate (squeeze-and-excitation), Concat,
// Split and Slice of channels, the Reshape-Transpose-Reshape of a channel shuffle, AveragePool, GlobalAveragePool,
// ReduceMean over the image, bilinear Resize, Flatten, Reshape, Squeeze, and what exporters leave behind (Identity,
// Dropout, Constant, Shape and its arithmetic). Anything else is refused by name.
#pragma once

#include <expected>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "search/network.hpp"
#include "trainer/error.hpp"

namespace finch::trainer {

struct Normalization {
  std::vector<float> mean, stddev;  // per channel, of pixels in [0, 1]
};

struct ImportedNetwork {
  search::Network network;
  std::map<std::string, std::vector<float>> tensors;  // as NetworkModule::state() names them
  Normalization normalization;                        // of the Normalize node; 0 and 1 when the network has none
  std::string input;                                  // what the file calls its image
  std::vector<std::string> class_names;               // of a file that Finch wrote; else empty
  std::vector<std::string> notes;                     // what was left out, as "Softmax 'prob' is left out: ..."
};

// `image`: what the file leaves open of its input's [C, H, W]. `normalization`: put in front of a network that does not
// normalise its images itself. Errors name the node and its operator; a fixed input of another shape than `image`.
std::expected<ImportedNetwork, Error> import_onnx(std::string_view bytes, const search::TensorShape& image,
                                                  const std::optional<Normalization>& normalization = {});

}  // namespace finch::trainer
