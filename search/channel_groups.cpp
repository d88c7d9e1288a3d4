#include "search/channel_groups.hpp"

#include <algorithm>
#include <format>
#include <map>
#include <utility>

#include "search/disjoint_sets.hpp"

namespace finch::search {
namespace {

std::int64_t channels_of(const Network& network, std::int32_t node) {
  return network.nodes[static_cast<std::size_t>(node)].shape.channels;
}

std::int64_t in_channels(const Network& network, const Node& node) {
  return channels_of(network, node.inputs.front());
}

// One input channel a group: each output channel depends on one input channel alone.
bool depthwise(const Convolution& convolution, std::int64_t in_channels) {
  return convolution.groups > 1 && convolution.groups == in_channels;
}

class Dependencies {
 public:
  explicit Dependencies(const Network& network) : network_(network), first_(first_channels(network)), sets_(total_) {
    for (std::size_t i = 0; i < network.nodes.size(); ++i) {
      node_ = static_cast<std::int32_t>(i);
      std::visit([&](const auto& operation) { tie(operation); }, network.nodes[i].operation);
    }
    fix(0);
    fix(node_);
  }

  std::vector<ChannelGroup> groups() {
    std::map<std::size_t, ChannelUnit> units;  // by set
    for_each_channel([&](NodeChannel at) {
      if (const auto set = free_set(at)) units[*set].channels.push_back(at);
    });
    for (std::size_t i = 0; i < network_.nodes.size(); ++i) {
      const Node& node = network_.nodes[i];
      if (!mixes(node)) continue;
      for (std::int64_t c = 0; c < in_channels(network_, node); ++c) {
        if (const auto set = free_set({node.inputs.front(), c}))
          units[*set].read_by.push_back({static_cast<std::int32_t>(i), c});
      }
    }
    return grouped(std::move(units));
  }

 private:
  std::vector<std::size_t> first_channels(const Network& network) {
    std::vector<std::size_t> first;
    for (const Node& node : network.nodes) {
      first.push_back(total_);
      total_ += static_cast<std::size_t>(node.shape.channels);
    }
    return first;
  }

  const Node& node() const { return network_.nodes[static_cast<std::size_t>(node_)]; }
  std::int32_t input(std::size_t which = 0) const { return node().inputs[which]; }
  std::size_t index(NodeChannel at) const {
    return first_[static_cast<std::size_t>(at.node)] + static_cast<std::size_t>(at.channel);
  }
  void unite(NodeChannel a, NodeChannel b) { sets_.unite(index(a), index(b)); }
  void fix(std::int32_t node) {
    for (std::int64_t c = 0; c < channels_of(network_, node); ++c) fixed_.push_back(index({node, c}));
  }

  void for_each_channel(const auto& visit) {
    for (std::int32_t node = 0; node < std::ssize(network_.nodes); ++node) {
      for (std::int64_t c = 0; c < channels_of(network_, node); ++c) visit(NodeChannel{node, c});
    }
  }

  std::optional<std::size_t> free_set(NodeChannel at) {
    if (fixed_sets_.empty()) {
      fixed_sets_.assign(total_, false);
      for (const std::size_t channel : fixed_) fixed_sets_[sets_.find(channel)] = true;
    }
    const std::size_t set = sets_.find(index(at));
    return fixed_sets_[set] ? std::nullopt : std::optional(set);
  }

  bool mixes(const Node& node) const {
    const auto* convolution = std::get_if<Convolution>(&node.operation);
    if (convolution != nullptr) return !depthwise(*convolution, in_channels(network_, node));
    return std::holds_alternative<Linear>(node.operation);
  }

  // An output channel is computed from the same channel of each input.
  void tie_channelwise() {
    for (const std::int32_t from : node().inputs) {
      for (std::int64_t c = 0; c < node().shape.channels; ++c) unite({from, c}, {node_, c});
    }
  }
  // The k-th channel of every group is one unit.
  void tie_groups(std::int32_t node, std::int64_t groups) {
    const std::int64_t size = channels_of(network_, node) / groups;
    for (std::int64_t c = size; c < channels_of(network_, node); ++c) unite({node, c % size}, {node, c});
  }

  void tie(const Input&) {}
  void tie(const Linear&) {}
  void tie(const Normalize&) { tie_channelwise(); }
  void tie(const Resize&) { tie_channelwise(); }
  void tie(const Activation&) { tie_channelwise(); }
  void tie(const Add&) { tie_channelwise(); }
  void tie(const Scale&) { tie_channelwise(); }
  void tie(const AveragePool&) { tie_channelwise(); }
  void tie(const GlobalAveragePool&) { tie_channelwise(); }
  void tie(const Convolution& operation) {
    const std::int64_t in = channels_of(network_, input());
    if (depthwise(operation, in)) {
      const std::int64_t each = operation.out_channels / in;
      for (std::int64_t c = 0; c < operation.out_channels; ++c) unite({input(), c / each}, {node_, c});
    } else if (operation.groups > 1) {
      tie_groups(input(), operation.groups);
      tie_groups(node_, operation.groups);
    }
  }
  void tie(const ChannelSlice& operation) {
    for (std::int64_t c = 0; c < operation.count; ++c) unite({input(), operation.begin + c}, {node_, c});
  }
  void tie(const Concat&) {
    std::int64_t at = 0;
    for (const std::int32_t part : node().inputs) {
      for (std::int64_t c = 0; c < channels_of(network_, part); ++c) unite({part, c}, {node_, at++});
    }
  }
  void tie(const ChannelShuffle& operation) {
    tie_groups(input(), operation.groups);
    const std::int64_t size = node().shape.channels / operation.groups;
    for (std::int64_t c = 0; c < node().shape.channels; ++c)
      unite({input(), c}, {node_, c % size * operation.groups + c / size});
  }

  std::vector<ChannelGroup> grouped(std::map<std::size_t, ChannelUnit> units) {
    DisjointSets nodes(network_.nodes.size());
    for (const auto& [set, unit] : units) {
      for (const NodeChannel& at : unit.channels)
        nodes.unite(static_cast<std::size_t>(unit.channels.front().node), static_cast<std::size_t>(at.node));
    }
    std::map<std::size_t, ChannelGroup> groups;  // by set of nodes
    for (auto& [set, unit] : units) {
      const std::size_t of = nodes.find(static_cast<std::size_t>(unit.channels.front().node));
      groups[of].units.push_back(std::move(unit));
    }
    std::vector<ChannelGroup> ordered;
    for (auto& [set, group] : groups) {
      std::ranges::sort(group.units, {}, [](const ChannelUnit& unit) { return unit.channels.front(); });
      ordered.push_back(std::move(group));
    }
    std::ranges::sort(ordered, {}, [](const ChannelGroup& group) { return group.units.front().channels.front(); });
    return ordered;
  }

  const Network& network_;
  std::size_t total_ = 0;
  std::vector<std::size_t> first_;  // by node: its first channel's place among all
  DisjointSets sets_;
  std::vector<std::size_t> fixed_;
  std::vector<bool> fixed_sets_;
  std::int32_t node_ = 0;  // that is being tied
};

// The operation for fewer channels.
struct Narrowed {
  const std::vector<std::int64_t>& in;  // channels of the first input that are kept
  std::int64_t in_channels;             // before
  std::int64_t out;                     // channels kept

  Operation operator()(Convolution operation) const {
    if (depthwise(operation, in_channels)) operation.groups = std::ssize(in);
    operation.out_channels = out;
    return operation;
  }
  Operation operator()(const Linear&) const { return Linear{out}; }
  Operation operator()(const ChannelSlice& operation) const {
    return ChannelSlice{.begin = std::ranges::lower_bound(in, operation.begin) - in.begin(), .count = out};
  }
  Operation operator()(const auto& operation) const { return operation; }
};

}  // namespace

std::vector<ChannelGroup> channel_groups(const Network& network) {
  return Dependencies(network).groups();
}

std::expected<PrunedNetwork, Error> remove_channels(const Network& network, std::span<const ChannelUnit> units) {
  std::vector<std::vector<bool>> removed;  // by node and channel
  for (const Node& node : network.nodes) removed.emplace_back(static_cast<std::size_t>(node.shape.channels), false);
  for (const ChannelUnit& unit : units) {
    for (const auto& [node, channel] : unit.channels)
      removed[static_cast<std::size_t>(node)][static_cast<std::size_t>(channel)] = true;
  }
  PrunedNetwork pruned;
  NetworkBuilder builder(network.input_shape());
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    const Node& node = network.nodes[i];
    std::vector<std::int64_t>& kept = pruned.kept.emplace_back();
    for (std::int64_t c = 0; c < node.shape.channels; ++c) {
      if (!removed[i][static_cast<std::size_t>(c)]) kept.push_back(c);
    }
    if (kept.empty()) return std::unexpected(Error{std::format("the node '{}' would keep no channel", node.name)});
    if (node.inputs.empty()) continue;  // the builder's own
    const Narrowed narrowed{.in = pruned.kept[static_cast<std::size_t>(node.inputs.front())],
                            .in_channels = in_channels(network, node),
                            .out = std::ssize(kept)};
    builder.add(node.name, std::visit(narrowed, node.operation), node.inputs);
  }
  auto built = builder.finish();
  if (!built) return std::unexpected(built.error());
  pruned.network = std::move(*built);
  return pruned;
}

}  // namespace finch::search
