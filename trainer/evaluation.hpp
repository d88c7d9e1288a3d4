// How often a classifier is right. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <functional>

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

}  // namespace finch::trainer
