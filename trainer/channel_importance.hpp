// How much a network would lose with each of its channels. Not thread safe on one module.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>

#include "search/channel_selection.hpp"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/network_module.hpp"

namespace finch::trainer {

enum class ImportanceCriterion {
  // Norm of the filter as deployed, BatchNorm folded in (Li 2017, "Pruning Filters for Efficient ConvNets"), relative
  // to the mean of its layer's, so that layers compare; the mean over the layers of a unit.
  l1,
  l2,
  // BatchNorm's |scale| (Liu 2017, "Network Slimming"), the mean over the layers of a unit. A unit without BatchNorm
  // stays.
  batch_norm,
  // (sum of weight * gradient)^2, the mean over batches (Molchanov 2019, "Importance Estimation for Neural Network
  // Pruning", eq. 8), over the weights that read the unit's channels: to zero these is to remove the channels.
  taylor,
};

const char* to_string(ImportanceCriterion criterion);  // "l1", "l2", "batch_norm", "taylor"
// Error: an unknown name; it lists the known ones.
std::expected<ImportanceCriterion, Error> parse_importance(const std::string& name);

// `images`: a training split; only taylor looks at it, at `batches` batches of 64 images in a seeded order. Sets the
// module to evaluation mode and leaves it without gradients. REQUIRES: groups of channel_groups(module.network()).
search::ChannelImportance channel_importance(NetworkModule& module, std::span<const search::ChannelGroup> groups,
                                             ImportanceCriterion criterion, const ImageSplit& images,
                                             std::int64_t batches = 32);

}  // namespace finch::trainer
