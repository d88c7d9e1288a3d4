#include "trainer/channel_padding.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "trainer/check_weights.hpp"

namespace finch::trainer {
namespace {

namespace ir = finch::search;

constexpr std::int64_t kLanes = 16;  // bytes of the vectors that MLAS' depthwise kernels load

bool depthwise(const ir::Convolution& convolution, std::int64_t in_channels) {
  return convolution.groups > 1 && convolution.groups == in_channels && convolution.out_channels == in_channels;
}

// By node: how many channels it is to have. Nodes whose channels correspond one to one are a set and get as many.
class Widths {
 public:
  explicit Widths(const ir::Network& network)
      : network_(network),
        parent_(network.nodes.size()),
        fixed_(network.nodes.size()),
        depthwise_(network.nodes.size()) {
    std::iota(parent_.begin(), parent_.end(), 0U);
    for (std::size_t i = 0; i < network.nodes.size(); ++i) {
      std::visit([&](const auto& operation) { tie(i, operation); }, network.nodes[i].operation);
    }
    fixed_.front() = fixed_.back() = true;
  }

  std::vector<std::int64_t> padded() {
    std::vector<bool> fixed(parent_.size()), wanted(parent_.size());
    for (std::size_t i = 0; i < parent_.size(); ++i) {
      if (fixed_[i]) fixed[set_of(i)] = true;
      if (depthwise_[i]) wanted[set_of(i)] = true;
    }
    std::vector<std::int64_t> widths;
    for (std::size_t i = 0; i < parent_.size(); ++i) {
      const std::int64_t channels = network_.nodes[i].shape.channels;
      const bool pad = wanted[set_of(i)] && !fixed[set_of(i)];
      widths.push_back(pad ? (channels + kLanes - 1) / kLanes * kLanes : channels);
    }
    return widths;
  }

 private:
  std::size_t set_of(std::size_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }
  std::size_t input(std::size_t i) const { return static_cast<std::size_t>(network_.nodes[i].inputs.front()); }

  void tie(std::size_t i, const ir::Convolution& convolution) {
    depthwise_[i] = depthwise(convolution, network_.nodes[input(i)].shape.channels);
    if (depthwise_[i]) {
      parent_[set_of(i)] = set_of(input(i));
    } else if (convolution.groups > 1) {
      fixed_[i] = fixed_[input(i)] = true;
    }
  }
  void tie(std::size_t, const ir::Input&) {}
  void tie(std::size_t, const ir::Linear&) {}
  void tie(std::size_t i, const ir::ChannelSlice&) { fixed_[i] = fixed_[input(i)] = true; }
  void tie(std::size_t i, const ir::ChannelShuffle&) { fixed_[i] = fixed_[input(i)] = true; }
  void tie(std::size_t i, const ir::Concat&) {
    fixed_[i] = true;
    for (const std::int32_t part : network_.nodes[i].inputs) fixed_[static_cast<std::size_t>(part)] = true;
  }
  void tie(std::size_t i, const auto&) {
    for (const std::int32_t from : network_.nodes[i].inputs)
      parent_[set_of(i)] = set_of(static_cast<std::size_t>(from));
  }

  const ir::Network& network_;
  std::vector<std::size_t> parent_;  // disjoint sets of nodes
  std::vector<bool> fixed_, depthwise_;
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
