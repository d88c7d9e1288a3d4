// Structured pruning: a smaller network, with the weights of the channels that stay. Not thread safe on one module.
#pragma once

#include <expected>

#include "search/channel_selection.hpp"
#include "trainer/channel_importance.hpp"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/model_size.hpp"
#include "trainer/network_module.hpp"

namespace finch::trainer {

struct ChannelPruning {
  ImportanceCriterion criterion = ImportanceCriterion::taylor;
  search::PruningTarget target;
};

// The network of fewer channels with every tensor cut to them. Where the removed channels were zero for every image, it
// computes what `module` does in evaluation mode. REQUIRES: made of module.network().
std::unique_ptr<NetworkModule> without_channels(const NetworkModule& module, const search::PrunedNetwork& pruned);

// Removes the channels that matter least on `images`, a training split. Train the result with Training. Sets `module`
// to evaluation mode. Errors: a target out of range or out of reach, weights that are not finite.
std::expected<CompressedModule, Error> prune_channels(NetworkModule& module, const ImageSplit& images,
                                                      const ChannelPruning& options);

}  // namespace finch::trainer
