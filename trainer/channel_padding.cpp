#include "trainer/channel_padding.hpp"

#include <algorithm>
#include <vector>

#include "search/disjoint_sets.hpp"
#include "trainer/check_weights.hpp"

namespace finch::trainer {
namespace {

namespace ir = finch::search;

constexpr std::int64_t kLanes = 16;  // channels that ONNX Runtime's depthwise kernels (MLAS) take at once

bool depthwise(const ir::Convolution& convolution, std::int64_t in_channels) {
  return convolution.groups > 1 && convolution.groups == in_channels && convolution.out_channels == in_channels;
}

// Nodes whose channels correspond one to one are a set, and get as many channels.
class Widths {
 public:
  explicit Widths(const ir::Network& network)
      : network_(network), sets_(network.nodes.size()), fixed_(network.nodes.size()), depthwise_(network.nodes.size()) {
    for (std::size_t i = 0; i < network.nodes.size(); ++i)
      std::visit([&](const auto& operation) { tie(i, operation); }, network.nodes[i].operation);
    fixed_.front() = fixed_.back() = true;
  }

  // By node: how many channels it is to have.
  std::vector<std::int64_t> padded() {
    std::vector<bool> fixed(fixed_.size()), wanted(fixed_.size());  // by set
    for (std::size_t i = 0; i < fixed_.size(); ++i) {
      if (fixed_[i]) fixed[sets_.find(i)] = true;
      if (depthwise_[i]) wanted[sets_.find(i)] = true;
    }
    std::vector<std::int64_t> widths;
    for (std::size_t i = 0; i < fixed_.size(); ++i) {
      const std::int64_t channels = network_.nodes[i].shape.channels;
      const bool pad = wanted[sets_.find(i)] && !fixed[sets_.find(i)];
      widths.push_back(pad ? (channels + kLanes - 1) / kLanes * kLanes : channels);
    }
    return widths;
  }

 private:
  std::size_t input(std::size_t i) const { return static_cast<std::size_t>(network_.nodes[i].inputs.front()); }
  void unite_with_inputs(std::size_t i) {
    for (const std::int32_t from : network_.nodes[i].inputs) sets_.unite(i, static_cast<std::size_t>(from));
  }
  void fix_with_inputs(std::size_t i) {
    fixed_[i] = true;
    for (const std::int32_t from : network_.nodes[i].inputs) fixed_[static_cast<std::size_t>(from)] = true;
  }

  void tie(std::size_t i, const ir::Convolution& convolution) {
    depthwise_[i] = depthwise(convolution, network_.nodes[input(i)].shape.channels);
    if (depthwise_[i]) return unite_with_inputs(i);
    if (convolution.groups > 1) fix_with_inputs(i);
  }
  void tie(std::size_t, const ir::Input&) {}
  void tie(std::size_t, const ir::Linear&) {}
  void tie(std::size_t i, const ir::ChannelSlice&) { fix_with_inputs(i); }
  void tie(std::size_t i, const ir::ChannelShuffle&) { fix_with_inputs(i); }
  void tie(std::size_t i, const ir::Concat&) { fix_with_inputs(i); }
  void tie(std::size_t i, const auto&) { unite_with_inputs(i); }

  const ir::Network& network_;
  ir::DisjointSets sets_;
  std::vector<bool> fixed_, depthwise_;  // by node
};

// [out, in, pixels] with zeros behind.
std::vector<float> padded(const std::vector<float>& weight, std::int64_t in, std::int64_t pixels, std::int64_t new_out,
                          std::int64_t new_in) {
  std::vector<float> wider(static_cast<std::size_t>(new_out * new_in * pixels));
  const std::int64_t row = in * pixels;
  for (std::int64_t o = 0; o < std::ssize(weight) / row; ++o)
    std::copy_n(weight.begin() + o * row, row, wider.begin() + o * new_in * pixels);
  return wider;
}

}  // namespace

std::expected<PaddedNetwork, Error> pad_depthwise_channels(const ir::Network& network, const NetworkWeights& weights) {
  if (auto checked = check_weights(network, weights); !checked) return std::unexpected(checked.error());
  const std::vector<std::int64_t> widths = Widths(network).padded();
  PaddedNetwork result{network, weights};
  for (std::size_t i = 0; i < widths.size(); ++i) {
    ir::Node& node = result.network.nodes[i];
    node.shape.channels = widths[i];
    const auto layer = result.weights.layers.find(static_cast<std::int32_t>(i));
    if (layer == result.weights.layers.end()) continue;
    const auto from = static_cast<std::size_t>(node.inputs.front());
    const std::int64_t in = network.nodes[from].shape.channels;
    std::int64_t pixels = 1, weight_in = in, wider_in = widths[from];
    if (auto* convolution = std::get_if<ir::Convolution>(&node.operation)) {
      pixels = convolution->kernel_size * convolution->kernel_size;
      if (convolution->groups > 1) weight_in = wider_in = in / convolution->groups;
      if (depthwise(*convolution, in)) convolution->groups = widths[from];
      convolution->out_channels = widths[i];
    }
    layer->second.weight = padded(layer->second.weight, weight_in, pixels, widths[i], wider_in);
    layer->second.bias.resize(static_cast<std::size_t>(widths[i]));
  }
  return result;
}

}  // namespace finch::trainer
