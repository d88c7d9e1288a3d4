// How each node of a network computes once the network is quantized: on integers or on floats, and what the integers
// stand for. The exported file and the fake-quantized module both follow it, so that they compute the same. Pure
// functions and plain values; thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "search/network.hpp"
#include "trainer/error.hpp"
#include "trainer/quantization.hpp"
#include "trainer/range_observer.hpp"

namespace finch::trainer {

struct PlannedNode {
  bool floating = false;  // computed in fp32; readers that need integers get them by `integers`
  // Integers of the node's value: real values are written in one quantization and read in another. Of the last node:
  // none, it gives floats.
  Saturation integers{kUnit, kUnit};
  // The activation that the node's own rounding does by saturating; its value is the activation's.
  std::optional<std::size_t> takes_over;
  bool taken_over = false;
  // Of a hard swish: its input's integers, read from zero, are x + 3, and clipping them makes the gate.
  bool clipped_gate = false;
};

struct QuantizationPlan {
  std::vector<PlannedNode> nodes;  // by node index
};

// `ranges`: by node. `float_layers`: convolutions and linear layers that stay fp32; what lies between two of them and
// is read by nothing else does too. The image is normalised and resized in fp32. Errors: features that are normalised
// or resized, a range that is not finite or empty. REQUIRES: ranges.size() == network.nodes.size().
std::expected<QuantizationPlan, Error> plan_quantization(const search::Network& network,
                                                         std::span<const ActivationRange> ranges,
                                                         const std::set<std::int32_t>& float_layers);

// Convolutions and linear layers: those whose weights are quantized, and which may stay fp32.
bool is_layer(const search::Node& node);

// The layers that read the image with nothing but normalisation and resizing between. Their few input channels leave
// integer kernels nothing to gain: files that are deployed keep them in fp32.
std::set<std::int32_t> layers_of_image(const search::Network& network);

}  // namespace finch::trainer
