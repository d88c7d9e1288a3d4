// A teacher's logits over a training split, cached so that distillation never runs the teacher. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <expected>
#include <filesystem>
#include <functional>
#include <string>

#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/evaluation.hpp"

namespace finch::trainer {

// float16 [N, 1, classes] of the images as they are, or [N, 2, classes]: of these, and mirrored left to right.
torch::Tensor compute_soft_targets(const Classifier& teacher, const ImageSplit& split, bool mirrored,
                                   const std::function<void(double fraction)>& progress);

// As bytes of a tensor file that names the split it belongs to.
std::string serialize_soft_targets(const torch::Tensor& logits, const Dataset& dataset);
// Errors: not such a file; made for another data set, another split, or other classes; without mirrored images though
// these are wanted.
std::expected<torch::Tensor, Error> load_soft_targets(const std::filesystem::path& path, const Dataset& dataset,
                                                      bool mirrored);

}  // namespace finch::trainer
