#include "trainer/check_weights.hpp"

#include <algorithm>
#include <cmath>
#include <format>

#include "search/cost_model.hpp"

namespace finch::trainer {
namespace {

bool finite(const std::vector<float>& values) {
  return std::ranges::all_of(values, [](float value) { return std::isfinite(value); });
}

std::expected<void, Error> check_normalization(const search::Node& node, const NetworkWeights& weights) {
  const auto channels = static_cast<std::size_t>(node.shape.channels);
  if (weights.mean.size() != channels || weights.stddev.size() != channels) {
    return std::unexpected(
        Error{std::format("node '{}' needs a mean and a standard deviation for each of {} channels, "
                          "not {} and {}",
                          node.name, channels, weights.mean.size(), weights.stddev.size())});
  }
  const bool positive =
      std::ranges::all_of(weights.stddev, [](float value) { return std::isnormal(value) && value > 0; });
  if (!positive || !finite(weights.mean)) {
    return std::unexpected(
        Error{std::format("node '{}' needs finite means and standard deviations above zero", node.name)});
  }
  return {};
}

std::expected<void, Error> check_layer(const search::Network& network, std::size_t i, const NetworkWeights& weights) {
  const search::Node& node = network.nodes[i];
  const auto layer = weights.layers.find(static_cast<std::int32_t>(i));
  if (layer == weights.layers.end()) {
    return std::unexpected(Error{std::format("there are no weights for node '{}'", node.name)});
  }
  const auto channels = static_cast<std::size_t>(node.shape.channels);
  const auto macs = static_cast<std::size_t>(search::node_macs(network, node));
  const std::size_t weight_count = macs / static_cast<std::size_t>(node.shape.height * node.shape.width);
  if (layer->second.weight.size() != weight_count || layer->second.bias.size() != channels) {
    return std::unexpected(
        Error{std::format("node '{}' needs {} weights and {} biases, not {} and {}", node.name, weight_count, channels,
                          layer->second.weight.size(), layer->second.bias.size())});
  }
  if (!finite(layer->second.weight) || !finite(layer->second.bias)) {
    return std::unexpected(Error{std::format(
        "the weights of node '{}' are not all finite: the training diverged, lower its learning rate", node.name)});
  }
  return {};
}

}  // namespace

std::expected<void, Error> check_weights(const search::Network& network, const NetworkWeights& weights) {
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    const search::Node& node = network.nodes[i];
    std::expected<void, Error> checked;
    if (std::holds_alternative<search::Normalize>(node.operation)) checked = check_normalization(node, weights);
    if (std::holds_alternative<search::Convolution>(node.operation) ||
        std::holds_alternative<search::Linear>(node.operation)) {
      checked = check_layer(network, i, weights);
    }
    if (!checked) return checked;
  }
  return {};
}

}  // namespace finch::trainer
