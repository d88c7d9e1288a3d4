// Writes a network with its weights as a TensorFlow Lite model, float or int8. No LibTorch. Pure functions; thread
// safe.
//
// Input `image`, float32 [N, H, W, C] in [0, 1]; output `logits`, float32 [N, classes]: the layout is TensorFlow
// Lite's, the rest as in trainer/onnx_writer.hpp.
#pragma once

#include <cstdint>
#include <expected>
#include <set>
#include <span>
#include <string>

#include "search/network.hpp"
#include "trainer/error.hpp"
#include "trainer/network_weights.hpp"
#include "trainer/onnx_writer.hpp"

namespace finch::trainer {

// Errors: weights that do not fit the network, what the format cannot say (a convolution of groups that is not
// depthwise, an average pool whose padding is not TensorFlow's "SAME").
std::expected<std::string, Error> write_tflite(const search::Network& network, const NetworkWeights& weights,
                                               const OnnxMetadata& metadata, BatchDimension batch);

// Post-training int8 by the rules of https://ai.google.dev/edge/litert/models/quantization_spec: weights symmetric per
// output channel, activations asymmetric per tensor, biases int32. The image is normalised in float and quantized then;
// the logits are float again. `float_layers`: convolutions and linear layers that stay float32. REQUIRES: ranges.size()
// == network.nodes.size().
std::expected<std::string, Error> write_quantized_tflite(const search::Network& network, const NetworkWeights& weights,
                                                         std::span<const ActivationRange> ranges,
                                                         const std::set<std::int32_t>& float_layers,
                                                         const OnnxMetadata& metadata, BatchDimension batch);

}  // namespace finch::trainer
