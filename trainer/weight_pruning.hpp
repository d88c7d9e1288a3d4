// Pruning of single weights: zeros in a network of the same shape. A runtime with dense kernels computes them as any
// other value; the compressed file gets smaller. Not thread safe on one module.
#pragma once

#include <cstdint>
#include <expected>
#include <variant>

#include "trainer/error.hpp"
#include "trainer/model_size.hpp"
#include "trainer/network_module.hpp"

namespace finch::trainer {

// This fraction of all weights, 0..1 (exclusive), becomes zero: the smallest as deployed (BatchNorm folded in), layers
// made comparable by LAMP (Lee 2021, "Layer-Adaptive Sparsity for the Magnitude-Based Pruning", eq. 1), which leaves
// every layer its greatest weight.
struct UnstructuredSparsity {
  double sparsity = 0.5;
};
// Of every `of` consecutive input channels at one place of a filter the `keep` greatest weights stay (Mishra 2021,
// "Accelerating Sparse Deep Neural Networks"). Layers whose filters have no multiple of `of` input channels, as
// depthwise ones, stay dense. 1 <= keep < of.
struct BlockSparsity {
  std::int64_t keep = 2;
  std::int64_t of = 4;
};
using SparsityPattern = std::variant<UnstructuredSparsity, BlockSparsity>;

// Train the result with Training and keep_zeros(). Errors: a pattern out of range, no layer that can take it, weights
// that are not finite.
std::expected<CompressedModule, Error> prune_weights(const NetworkModule& module, const SparsityPattern& pattern);

}  // namespace finch::trainer
