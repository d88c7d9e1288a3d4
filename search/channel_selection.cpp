#include "search/channel_selection.hpp"

#include <algorithm>
#include <cmath>
#include <format>
#include <map>
#include <utility>

#include "search/cost_model.hpp"

namespace finch::search {
namespace {

double cost(const Network& network, PrunedCost kind) {
  const Cost all = cost_of(network);
  return static_cast<double>(kind == PrunedCost::macs ? all.macs : all.parameters);
}

// What removing the unit alone would save: its filters, and the weights that read it.
class UnitCost {
 public:
  UnitCost(const Network& network, PrunedCost kind) {
    for (const Node& node : network.nodes) {
      const auto all = static_cast<double>(kind == PrunedCost::macs ? node_macs(network, node)  //
                                                                    : node_parameters(network, node));
      filter_.push_back(all / static_cast<double>(node.shape.channels));
      const std::int64_t in =
          node.inputs.empty() ? 1 : network.nodes[static_cast<std::size_t>(node.inputs.front())].shape.channels;
      column_.push_back(all / static_cast<double>(in));
    }
  }

  double operator()(const ChannelUnit& unit) const {
    double saved = 0;
    for (const NodeChannel& at : unit.channels) saved += filter_[static_cast<std::size_t>(at.node)];
    for (const NodeChannel& at : unit.read_by) saved += column_[static_cast<std::size_t>(at.node)];
    return saved;
  }

 private:
  std::vector<double> filter_, column_;  // by node: an output channel's and an input channel's share of its cost
};

class Selection {
 public:
  Selection(const Network& network, std::span<const ChannelGroup> groups, const ChannelImportance& importance,
            const PruningTarget& target)
      : network_(network), groups_(groups), target_(target) {
    const UnitCost unit_cost(network, target.cost);
    for (std::size_t g = 0; g < groups.size(); ++g) {
      for (std::size_t u = 0; u < groups[g].units.size(); ++u) {
        const double worth = importance[g][u] / std::max(1.0, unit_cost(groups[g].units[u]));
        if (std::isfinite(worth)) ranked_.push_back({worth, g, u});
      }
    }
    std::ranges::sort(ranked_);
  }

  std::size_t candidates() const { return ranked_.size(); }

  // Without the `count` units of least worth, save those that the groups take back. The more go, the fewer stay.
  std::expected<PrunedNetwork, Error> without(std::size_t count) const {
    std::vector<std::vector<std::size_t>> removed(groups_.size());  // by group: units, the best last
    for (std::size_t i = 0; i < count; ++i) removed[ranked_[i].group].push_back(ranked_[i].unit);
    std::vector<ChannelUnit> units;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      for (const std::size_t unit : allowed(groups_[g], std::move(removed[g]))) units.push_back(groups_[g].units[unit]);
    }
    return remove_channels(network_, units);
  }

 private:
  struct Ranked {
    double worth;
    std::size_t group, unit;
    auto operator<=>(const Ranked&) const = default;
  };

  // The longest beginning of `removed` that leaves every node a number of channels it may have.
  std::vector<std::size_t> allowed(const ChannelGroup& group, std::vector<std::size_t> removed) const {
    std::map<std::int32_t, std::int64_t> gone;  // channels, by node
    for (const std::size_t unit : removed) {
      for (const NodeChannel& at : group.units[unit].channels) ++gone[at.node];
    }
    const auto allows = [&](const auto& entry) {
      const std::int64_t kept = network_.nodes[static_cast<std::size_t>(entry.first)].shape.channels - entry.second;
      return entry.second == 0 || (kept >= target_.min_channels && kept % target_.multiple == 0);
    };
    while (!std::ranges::all_of(gone, allows)) {
      for (const NodeChannel& at : group.units[removed.back()].channels) --gone[at.node];
      removed.pop_back();
    }
    return removed;
  }

  const Network& network_;
  std::span<const ChannelGroup> groups_;
  const PruningTarget& target_;
  std::vector<Ranked> ranked_;
};

}  // namespace

std::expected<PrunedNetwork, Error> prune_network(const Network& network, std::span<const ChannelGroup> groups,
                                                  const ChannelImportance& importance, const PruningTarget& target) {
  if (!(target.keep > 0 && target.keep < 1)) {
    return std::unexpected(
        Error{std::format("pruning keeps a fraction above 0 and below 1, not {}: set keep", target.keep)});
  }
  if (target.min_channels < 1 || target.multiple < 1)
    return std::unexpected(Error{"pruning needs min_channels and multiple of at least 1"});
  const Selection selection(network, groups, importance, target);
  const double before = cost(network, target.cost);
  std::expected<PrunedNetwork, Error> best = selection.without(selection.candidates());
  if (!best) return best;
  if (const double least = cost(best->network, target.cost) / before; least > target.keep) {
    return std::unexpected(Error{std::format(
        "pruning cannot get down to {:.0f} % of the {}: {:.0f} % stay with at least {} channels a layer in multiples "
        "of {}; raise keep or lower min_channels or multiple",
        100 * target.keep, to_string(target.cost), std::ceil(100 * least), target.min_channels, target.multiple)});
  }
  std::size_t too_few = 0, enough = selection.candidates();
  while (too_few + 1 < enough) {
    const std::size_t count = (too_few + enough) / 2;
    auto pruned = selection.without(count);
    if (!pruned) return pruned;
    if (cost(pruned->network, target.cost) > target.keep * before) {
      too_few = count;
    } else {
      enough = count;
      best = std::move(pruned);
    }
  }
  return best;
}

const char* to_string(PrunedCost cost) {
  return cost == PrunedCost::macs ? "macs" : "parameters";
}

}  // namespace finch::search
