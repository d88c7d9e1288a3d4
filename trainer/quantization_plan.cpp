#include "trainer/quantization_plan.hpp"

#include <algorithm>
#include <cmath>
#include <format>

namespace finch::trainer {
namespace {

using search::ActivationKind;

bool prepares_images(const search::Node& node) {
  return std::holds_alternative<search::Normalize>(node.operation) ||
         std::holds_alternative<search::Resize>(node.operation);
}

// The image itself, or normalised and resized.
bool is_image(const search::Network& network, std::size_t i) {
  const search::Node& node = network.nodes[i];
  if (node.inputs.empty()) return true;
  return prepares_images(node) && is_image(network, static_cast<std::size_t>(node.inputs[0]));
}

class Planner {
 public:
  Planner(const search::Network& network, std::span<const ActivationRange> ranges,
          const std::set<std::int32_t>& float_layers)
      : network_(network), ranges_(ranges), float_layers_(float_layers), readers_(network.nodes.size()) {
    plan_.nodes.resize(network.nodes.size());
    for (std::size_t i = 0; i < network.nodes.size(); ++i) {
      for (const std::int32_t input : node(i).inputs) readers_[static_cast<std::size_t>(input)].push_back(i);
    }
  }

  std::expected<QuantizationPlan, Error> plan() {
    for (std::size_t i = 0; i < network_.nodes.size(); ++i) {
      if (auto good = find_images(i); !good) return std::unexpected(good.error());
    }
    choose_arithmetic();
    for (std::size_t i = 0; i < network_.nodes.size(); ++i) choose_integers(i);
    return std::move(plan_);
  }

 private:
  const search::Node& node(std::size_t i) const { return network_.nodes[i]; }
  PlannedNode& planned(std::size_t i) { return plan_.nodes[i]; }
  PlannedNode& input(std::size_t i) { return plan_.nodes[static_cast<std::size_t>(node(i).inputs[0])]; }
  const search::Activation* activation(std::size_t i) const {
    return std::get_if<search::Activation>(&node(i).operation);
  }
  bool stays_float(std::size_t i) const { return float_layers_.contains(static_cast<std::int32_t>(i)); }

  std::expected<void, Error> find_images(std::size_t i) {
    const bool image = is_image(network_, i);
    if (prepares_images(node(i)) && !image) {
      return std::unexpected(
          Error{std::format("int8 export: node '{}' ({}) works on features; only images can be "
                            "normalised and resized",
                            node(i).name, search::operation_name(node(i).operation))});
    }
    planned(i).floating = image;
    const auto [low, high] = ranges_[i];
    if (!std::isfinite(low) || !std::isfinite(high) || low > high) {
      return std::unexpected(
          Error{std::format("the calibrated range of node '{}' is [{}, {}]", node(i).name, low, high)});
    }
    return {};
  }

  // What is no layer computes in fp32 where all that it reads and all that reads it does.
  void choose_arithmetic() {
    std::vector<bool> read_as_floats(network_.nodes.size());
    for (std::size_t i = network_.nodes.size(); i-- > 0;) {
      read_as_floats[i] = std::ranges::all_of(readers_[i], [&](std::size_t reader) {
        return is_layer(node(reader)) ? stays_float(reader) : read_as_floats[reader];
      });
    }
    for (std::size_t i = 0; i < network_.nodes.size(); ++i) {
      if (is_layer(node(i))) {
        planned(i).floating = stays_float(i);
      } else if (!planned(i).floating) {
        planned(i).floating = read_as_floats[i] && std::ranges::all_of(node(i).inputs, [&](std::int32_t from) {
                                return planned(static_cast<std::size_t>(from)).floating;
                              });
      }
    }
  }

  // The integer activation that is the only reader of node i.
  std::optional<std::size_t> sole_activation(std::size_t i) {
    if (readers_[i].size() != 1 || activation(readers_[i][0]) == nullptr || planned(readers_[i][0]).floating) {
      return std::nullopt;
    }
    return readers_[i][0];
  }

  void choose_integers(std::size_t i) {
    PlannedNode& here = planned(i);
    const auto set = [&](const Quantization& quantization) { here.integers = {quantization, quantization}; };
    if (here.taken_over) return;
    if (!here.floating) {
      // What only moves integers keeps their meaning.
      if (std::holds_alternative<search::ChannelSlice>(node(i).operation) ||
          std::holds_alternative<search::ChannelShuffle>(node(i).operation)) {
        return set(input(i).integers.read);
      }
      if (const auto* its = activation(i)) {
        if (const auto saturating = saturation(its->kind, ranges_[i])) {
          here.integers = *saturating;
          return;
        }
        if (its->kind == ActivationKind::sigmoid) return set(kUnit);
        const Quantization& read = input(i).integers.read;
        here.clipped_gate = its->kind == ActivationKind::hard_swish && is_shifted_by_three(read);
      }
    }
    ActivationRange range = ranges_[i];
    if (const auto behind = sole_activation(i)) {
      const ActivationKind kind = activation(*behind)->kind;
      if (const auto saturating = saturation(kind, ranges_[*behind])) {
        here.takes_over = behind;
        planned(*behind).taken_over = true;
        planned(*behind).integers = *saturating;
        return;
      }
      if (kind == ActivationKind::hard_swish) {
        if (const auto shifted = shifted_by_three(range.high)) return set(*shifted);
      }
      range.low = std::max(range.low, lowest_relevant(kind));
      range.high = std::max(range.high, range.low);
    }
    set(quantization_of(range));
  }

  const search::Network& network_;
  const std::span<const ActivationRange> ranges_;
  const std::set<std::int32_t>& float_layers_;
  std::vector<std::vector<std::size_t>> readers_;
  QuantizationPlan plan_;
};

}  // namespace

bool is_layer(const search::Node& node) {
  return std::holds_alternative<search::Convolution>(node.operation) ||
         std::holds_alternative<search::Linear>(node.operation);
}

std::expected<QuantizationPlan, Error> plan_quantization(const search::Network& network,
                                                         std::span<const ActivationRange> ranges,
                                                         const std::set<std::int32_t>& float_layers) {
  return Planner(network, ranges, float_layers).plan();
}

std::set<std::int32_t> layers_of_image(const search::Network& network) {
  std::set<std::int32_t> layers;
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    const search::Node& node = network.nodes[i];
    if (is_layer(node) && is_image(network, static_cast<std::size_t>(node.inputs[0])))
      layers.insert(static_cast<std::int32_t>(i));
  }
  return layers;
}

}  // namespace finch::trainer
