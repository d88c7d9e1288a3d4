// Writes a network with its weights as an ONNX model, fp32 or int8 (QDQ). No LibTorch. Pure functions; thread safe.
//
// Input `image`, float32 [N, C, H, W] in [0, 1]; output `logits`, [N, classes]. Opset 17.
// Every model is checked by onnx's own checker before it is returned.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <vector>

#include "search/network.hpp"
#include "trainer/error.hpp"
#include "trainer/network_weights.hpp"

namespace finch::trainer {

struct OnnxMetadata {
  std::string space;
  std::string genotype;  // "0,2,1"
  std::string campaign;
  std::vector<std::string> class_names;
};

enum class BatchDimension { one, dynamic };

// The serialized ModelProto. Errors: weights that do not fit the network, what the checker says.
std::expected<std::string, Error> write_onnx(const search::Network& network, const NetworkWeights& weights,
                                             const OnnxMetadata& metadata, BatchDimension batch);

// Range of a node's output seen on the calibration set; by node index.
struct ActivationRange {
  float low = 0;
  float high = 0;
};

// Post-training int8: QuantizeLinear/DequantizeLinear pairs, weights int8 symmetric per output channel, activations
// uint8 asymmetric per tensor, biases int32. REQUIRES: ranges.size() == network.nodes.size().
std::expected<std::string, Error> write_quantized_onnx(const search::Network& network, const NetworkWeights& weights,
                                                       std::span<const ActivationRange> ranges,
                                                       const OnnxMetadata& metadata, BatchDimension batch);

// Collects activations and chooses, per node, the range that loses least: the one of least mean squared error after
// rounding to 8 bits and clipping, which cuts rare outliers off. A range always holds zero. Not thread safe.
class RangeObserver {
 public:
  explicit RangeObserver(std::size_t nodes) : histograms_(nodes) {}
  // `values`: any number of outputs of the node. What is not finite is left out.
  void observe(std::int32_t node, std::span<const float> values);
  // {0, 0} for a node that gave nothing but zeros, or was never observed.
  std::vector<ActivationRange> ranges() const;

 private:
  // Over [-limit, limit]. The limit is a power of two and grows by doubling, which merges bins pairwise: no count is
  // ever split between bins.
  struct Histogram {
    float limit = 0;
    float low = 0, high = 0;  // extremes seen, and zero
    std::vector<std::int64_t> counts;
  };
  std::vector<Histogram> histograms_;
};

// Sets denormal weights, biases and means to zero (they can make a trained network slower than a random one); returns
// how many.
std::int64_t flush_denormals(NetworkWeights& weights);

}  // namespace finch::trainer
