// Writes a network with its weights as an ONNX model, fp32 or int8 (QDQ). No LibTorch. Pure functions; thread safe.
//
// Input `image`, float32 [N, C, H, W] in [0, 1]; output `logits`, [N, classes]. Opset 17.
// Every model is checked by onnx's own checker before it is returned.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "search/network.hpp"
#include "trainer/error.hpp"
#include "trainer/network_weights.hpp"
#include "trainer/quantization_plan.hpp"

namespace finch::trainer {

struct OnnxMetadata {
  std::string space;
  std::string genotype;  // "0,2,1"
  std::string campaign;
  std::vector<std::string> class_names;
  std::vector<std::string> float_layers = {};  // of an int8 file: the layers that stay fp32
};

enum class BatchDimension { one, dynamic };

// The serialized ModelProto. Errors: weights that do not fit the network, what the checker says.
std::expected<std::string, Error> write_onnx(const search::Network& network, const NetworkWeights& weights,
                                             const OnnxMetadata& metadata, BatchDimension batch);

// int8: QuantizeLinear/DequantizeLinear pairs, weights int8 symmetric per output channel, activations
// uint8 asymmetric per tensor, biases int32; the plan's float layers and the last layer's output float32. REQUIRES: the
// plan was made of this network.
std::expected<std::string, Error> write_quantized_onnx(const search::Network& network, const NetworkWeights& weights,
                                                       const QuantizationPlan& plan, const OnnxMetadata& metadata,
                                                       BatchDimension batch);

// Sets denormal weights, biases and means to zero (they can make a trained network slower than a random one); returns
// how many.
std::int64_t flush_denormals(NetworkWeights& weights);

}  // namespace finch::trainer
