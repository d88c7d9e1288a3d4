#include "search/synflow.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace finch::search {
namespace {

// How much of a window lies inside the image, on average over the outputs, in one direction.
double coverage(std::int64_t in, std::int64_t out, const Convolution& convolution) {
  std::int64_t inside = 0;
  for (std::int64_t i = 0; i < out; ++i) {
    const std::int64_t begin = i * convolution.stride - convolution.padding;
    inside += std::min(in, begin + convolution.kernel_size) - std::max<std::int64_t>(0, begin);
  }
  return static_cast<double>(inside) / static_cast<double>(out * convolution.kernel_size);
}

// Weights are normal with variance 2 / fan_in, so that their absolute values have the mean 2 / sqrt(pi fan_in).
double gain_of_weights(double fan_in) {
  return 2 * std::sqrt(fan_in / std::numbers::pi);
}

// d output / d input of the node's k-th input, means over the elements.
double gain(const Network& network, const Node& node, std::size_t k) {
  const TensorShape& in = network.nodes[static_cast<std::size_t>(node.inputs[k])].shape;
  if (const auto* convolution = std::get_if<Convolution>(&node.operation)) {
    const double fan_in =
        static_cast<double>(in.channels / convolution->groups * convolution->kernel_size * convolution->kernel_size);
    return gain_of_weights(fan_in) * coverage(in.height, node.shape.height, *convolution) *
           coverage(in.width, node.shape.width, *convolution);
  }
  if (std::holds_alternative<Linear>(node.operation)) return gain_of_weights(static_cast<double>(in.channels));
  if (std::holds_alternative<Concat>(node.operation))
    return static_cast<double>(in.channels) / static_cast<double>(node.shape.channels);
  if (std::holds_alternative<Scale>(node.operation)) return k == 0 ? 1 : 0;  // gates are taken as open
  return 1;
}

}  // namespace

double expected_synflow(const Network& network) {
  const std::size_t count = network.nodes.size();
  std::vector<double> value(count, 0.0), relevance(count, 0.0);  // means over elements; d R / d value
  value.front() = 1;
  for (std::size_t i = 1; i < count; ++i) {
    const Node& node = network.nodes[i];
    for (std::size_t k = 0; k < node.inputs.size(); ++k)
      value[i] += gain(network, node, k) * value[static_cast<std::size_t>(node.inputs[k])];
  }
  relevance.back() = static_cast<double>(network.output_shape().elements());
  double score = 0;
  for (std::size_t i = count; i-- > 1;) {
    const Node& node = network.nodes[i];
    if (std::holds_alternative<Convolution>(node.operation) || std::holds_alternative<Linear>(node.operation))
      score += relevance[i] * value[i];  // what flows through the layer, each of its weights counted once
    for (std::size_t k = 0; k < node.inputs.size(); ++k)
      relevance[static_cast<std::size_t>(node.inputs[k])] += gain(network, node, k) * relevance[i];
  }
  return std::log1p(score);
}

}  // namespace finch::search
