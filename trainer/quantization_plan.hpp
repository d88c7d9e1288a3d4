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
  bool image = false;       // nothing but normalisation and resizing lies between the image and it
  bool normalized = false;  // of an image: its values are
  bool floating = false;    // computed in fp32; readers that need integers get them by `integers`
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
  ImageQuantization image;         // of the normalised image
};

// `ranges`: by node. `float_layers`: convolutions and linear layers that stay fp32; what lies between two of them and
// is read by nothing else does too. Errors: features that are normalised or resized, a range that is not finite or
// empty. REQUIRES: ranges.size() == network.nodes.size(); mean and stddev hold a value for each channel.
std::expected<QuantizationPlan, Error> plan_quantization(const search::Network& network,
                                                         std::span<const ActivationRange> ranges,
                                                         const std::set<std::int32_t>& float_layers,
                                                         std::span<const float> mean, std::span<const float> stddev);

// Convolutions and linear layers: those whose weights are quantized, and which may stay fp32.
bool is_layer(const search::Node& node);

}  // namespace finch::trainer
