// The weights of a network as deployed: BatchNorm folded, denormals flushed, no LibTorch type. The bridge from the
// trained module to the exporters. Plain values.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace finch::trainer {

struct LayerWeights {
  std::vector<float> weight;  // convolution [out, in / groups, k, k]; linear [out, in]
  std::vector<float> bias;    // [out]
};

struct NetworkWeights {
  std::map<std::int32_t, LayerWeights> layers;  // by node index: every convolution and linear
  std::vector<float> mean, stddev;              // of the Normalize node, per channel, for pixels in [0, 1]
};

}  // namespace finch::trainer
