// How often a classifier is right. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <map>
#include <utility>

#include "trainer/dataset.hpp"

namespace finch::trainer {

// float32 [N, C, H, W] in [0, 1] -> logits [N, classes]; called without gradients.
using Classifier = std::function<torch::Tensor(const torch::Tensor& images)>;

// Logits [N, classes] of the whole split as it is, batch by batch.
torch::Tensor logits_of(const Classifier& classifier, const ImageSplit& split,
                        const std::function<void(double fraction)>& progress = {});

// Top-1 accuracy, 0..1. REQUIRES: split.size() > 0.
double top1(const Classifier& classifier, const ImageSplit& split,
            const std::function<void(double fraction)>& progress = {});

// Images by {label, prediction}, where there are any.
using ConfusionCounts = std::map<std::pair<std::int32_t, std::int32_t>, std::int64_t>;
ConfusionCounts confusion(const Classifier& classifier, const ImageSplit& split,
                          const std::function<void(double fraction)>& progress = {});
// REQUIRES: not empty.
double top1(const ConfusionCounts& counts);

}  // namespace finch::trainer
