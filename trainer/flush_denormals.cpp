#include <cmath>

#include "trainer/onnx_writer.hpp"

namespace finch::trainer {
namespace {

std::int64_t flush(std::vector<float>& values) {
  std::int64_t count = 0;
  for (float& value : values) {
    if (std::fpclassify(value) != FP_SUBNORMAL) continue;
    value = 0;
    ++count;
  }
  return count;
}

}  // namespace

std::int64_t flush_denormals(NetworkWeights& weights) {
  std::int64_t count = flush(weights.mean);
  for (auto& [node, layer] : weights.layers) count += flush(layer.weight) + flush(layer.bias);
  return count;
}

}  // namespace finch::trainer
