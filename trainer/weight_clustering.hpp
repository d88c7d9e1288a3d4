// Weight clustering: the weights of a layer share a few values (Han 2016, "Deep Compression"), so that the model can be
// stored as indices. What is computed, and how fast, does not change. Not thread safe on one module.
#pragma once

#include <cstdint>
#include <expected>

#include "trainer/error.hpp"
#include "trainer/model_size.hpp"
#include "trainer/network_module.hpp"

namespace finch::trainer {

struct WeightClustering {
  int bits = 4;  // 1..8: at most 2^bits values a layer
  std::uint64_t seed = 1;
};

// Each layer's weights as deployed become the centroids of their k-means. BatchNorm is folded into the convolutions
// first, as the exported file would undo the sharing otherwise. Zeros, where a layer was pruned, are a value of their
// own and stay. Train the result with Training and keep_shared_values(). Errors: bits out of range, weights that are
// not finite.
std::expected<CompressedModule, Error> cluster_weights(const NetworkModule& module, const WeightClustering& options);

// The bytes of a model's weights and biases. A layer is stored in the shortest of the forms up to the named one.
struct SharedSize {
  std::int64_t dense_bytes = 0;    // float32
  std::int64_t indexed_bytes = 0;  // a float32 for each value, and for each weight an index of as few bits as do
  std::int64_t huffman_bytes = 0;  // indices in Huffman's code of their frequencies, whose lengths take a byte a value
};
SharedSize shared_size(const NetworkModule& module);

}  // namespace finch::trainer
