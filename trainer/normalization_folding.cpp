#include "trainer/normalization_folding.hpp"

#include <algorithm>
#include <cstddef>
#include <variant>
#include <vector>

namespace finch::trainer {

NetworkWeights fold_stddev(const search::Network& network, NetworkWeights weights) {
  std::vector<bool> normalized(network.nodes.size());
  std::vector<std::int32_t> readers;
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    const search::Node& node = network.nodes[i];
    const bool reads =
        std::ranges::any_of(node.inputs, [&](auto from) { return normalized[static_cast<std::size_t>(from)]; });
    normalized[i] = std::holds_alternative<search::Normalize>(node.operation) ||
                    (reads && std::holds_alternative<search::Resize>(node.operation));
    if (!reads || normalized[i]) continue;
    const auto* convolution = std::get_if<search::Convolution>(&node.operation);
    if (convolution == nullptr || convolution->groups > 1) return weights;
    readers.push_back(static_cast<std::int32_t>(i));
  }
  const std::size_t channels = weights.stddev.size();
  for (const std::int32_t reader : readers) {
    LayerWeights& layer = weights.layers.at(reader);
    const std::size_t pixels = layer.weight.size() / layer.bias.size() / channels;
    for (std::size_t k = 0; k < layer.weight.size(); ++k) layer.weight[k] /= weights.stddev[k / pixels % channels];
  }
  std::ranges::fill(weights.stddev, 1.0F);
  return weights;
}

}  // namespace finch::trainer
