#include "trainer/channel_pruning.hpp"

#include <map>

namespace finch::trainer {
namespace {

namespace ir = finch::search;

torch::Tensor indices(const std::vector<std::int64_t>& kept, std::int64_t count) {
  return torch::tensor(std::vector<std::int64_t>(kept.begin(), kept.begin() + count), torch::kLong);
}

}  // namespace

std::unique_ptr<NetworkModule> without_channels(const NetworkModule& module, const ir::PrunedNetwork& pruned) {
  std::map<std::string, std::size_t> nodes;
  for (std::size_t i = 0; i < pruned.network.nodes.size(); ++i) nodes[pruned.network.nodes[i].name] = i;
  return std::make_unique<NetworkModule>(
      pruned.network, module.mean(), module.stddev(),
      [&](const ir::Node& node, const std::string& tensor, torch::IntArrayRef shape) {
        const std::vector<std::int64_t>& out = pruned.kept[nodes.at(node.name)];
        const std::vector<std::int64_t>& in = pruned.kept[static_cast<std::size_t>(node.inputs.front())];
        torch::Tensor values = module.state().at(node.name + "." + tensor).detach();
        values = values.index_select(0, indices(out, std::ssize(out)));
        // Groups keep the same channels, so that the first group's are those of all; depthwise kernels have one each.
        if (tensor == "weight" && values.size(1) != shape[1]) values = values.index_select(1, indices(in, shape[1]));
        return values;
      });
}

std::expected<CompressedModule, Error> prune_channels(NetworkModule& module, const ImageSplit& images,
                                                      const ChannelPruning& options) {
  const auto before = model_size(module);
  if (!before) return std::unexpected(before.error());
  const std::vector<ir::ChannelGroup> groups = ir::channel_groups(module.network());
  const auto pruned = ir::prune_network(module.network(), groups,
                                        channel_importance(module, groups, options.criterion, images), options.target);
  if (!pruned) return std::unexpected(Error{pruned.error().message});
  CompressedModule result{.module = without_channels(module, *pruned), .before = *before, .after = {}};
  const auto after = model_size(*result.module);
  if (!after) return std::unexpected(after.error());
  result.after = *after;
  return result;
}

}  // namespace finch::trainer
