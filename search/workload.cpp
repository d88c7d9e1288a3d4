#include "search/workload.hpp"

#include "search/cost_model.hpp"

namespace finch::search {
namespace {

// Each a column. Depthwise convolutions by their kernel, up to 3 x 3, up to 5 x 5, and above.
enum Part : std::size_t {
  pointwise,
  dense,
  grouped3,
  grouped5,
  grouped_large,
  linear,
  convolved,
  activated,  // one column a kind
  combined = activated + static_cast<std::size_t>(ActivationKind::silu) + 1,
  moved,
  pooled,
  parameters,
  all_macs,
  all_elements,
  nodes,
  parts
};

Part part_of(const Convolution& convolution) {
  if (convolution.groups == 1) return convolution.kernel_size == 1 ? pointwise : dense;
  return convolution.kernel_size <= 3 ? grouped3 : convolution.kernel_size <= 5 ? grouped5 : grouped_large;
}

struct Written {
  std::size_t operator()(const Input&) const { return moved; }
  std::size_t operator()(const Normalize&) const { return combined; }
  std::size_t operator()(const Resize&) const { return moved; }
  std::size_t operator()(const Convolution&) const { return convolved; }
  std::size_t operator()(const Activation& activation) const {
    return activated + static_cast<std::size_t>(activation.kind);
  }
  std::size_t operator()(const Add&) const { return combined; }
  std::size_t operator()(const Scale&) const { return combined; }
  std::size_t operator()(const ChannelSlice&) const { return moved; }
  std::size_t operator()(const Concat&) const { return moved; }
  std::size_t operator()(const ChannelShuffle&) const { return moved; }
  std::size_t operator()(const AveragePool&) const { return pooled; }
  std::size_t operator()(const GlobalAveragePool&) const { return pooled; }
  std::size_t operator()(const Linear&) const { return convolved; }
};

}  // namespace

std::vector<double> workload_of(const Network& network) {
  std::vector<double> work(parts, 0.0);
  for (const Node& node : network.nodes) {
    const double macs = 1e-6 * static_cast<double>(node_macs(network, node));
    const double elements = 1e-6 * static_cast<double>(node.shape.elements());
    if (const auto* convolution = std::get_if<Convolution>(&node.operation)) work[part_of(*convolution)] += macs;
    if (std::holds_alternative<Linear>(node.operation)) work[linear] += macs;
    work[std::visit(Written(), node.operation)] += elements;
    work[parameters] += 1e-6 * static_cast<double>(node_parameters(network, node));
    work[all_macs] += macs;
    work[all_elements] += elements;
    work[nodes] += 1;
  }
  return work;
}

}  // namespace finch::search
