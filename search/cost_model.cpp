#include "search/cost_model.hpp"

#include <algorithm>
#include <vector>

namespace finch::search {
namespace {

const TensorShape& input_of(const Network& network, const Node& node) {
  return network.nodes[static_cast<std::size_t>(node.inputs.front())].shape;
}

// Greatest sum of tensors that are needed at one time: a node's output, and all earlier outputs still to be read.
std::int64_t peak_activation_bytes(const Network& network) {
  std::vector<std::size_t> last_use(network.nodes.size());
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    last_use[i] = i;
    for (const std::int32_t input : network.nodes[i].inputs) last_use[static_cast<std::size_t>(input)] = i;
  }
  std::int64_t live = 0, peak = 0;
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    live += network.nodes[i].shape.elements();
    peak = std::max(peak, live);
    for (std::size_t j = 0; j <= i; ++j) {
      if (last_use[j] == i) live -= network.nodes[j].shape.elements();
    }
  }
  return peak * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace

std::int64_t node_macs(const Network& network, const Node& node) {
  if (const auto* convolution = std::get_if<Convolution>(&node.operation)) {
    const std::int64_t per_output =
        input_of(network, node).channels / convolution->groups * convolution->kernel_size * convolution->kernel_size;
    return node.shape.elements() * per_output;
  }
  if (const auto* linear = std::get_if<Linear>(&node.operation)) {
    return linear->out_features * input_of(network, node).channels;
  }
  return 0;
}

std::int64_t node_parameters(const Network& network, const Node& node) {
  if (const auto* convolution = std::get_if<Convolution>(&node.operation)) {
    const std::int64_t weights = convolution->out_channels * (input_of(network, node).channels / convolution->groups) *
                                 convolution->kernel_size * convolution->kernel_size;
    return weights + (convolution->bias || convolution->batch_norm ? convolution->out_channels : 0);
  }
  if (const auto* linear = std::get_if<Linear>(&node.operation)) {
    return linear->out_features * (input_of(network, node).channels + 1);
  }
  return 0;
}

Cost cost_of(const Network& network) {
  Cost cost;
  for (const Node& node : network.nodes) {
    cost.parameters += node_parameters(network, node);
    cost.macs += node_macs(network, node);
  }
  cost.peak_activation_bytes = peak_activation_bytes(network);
  return cost;
}

}  // namespace finch::search
