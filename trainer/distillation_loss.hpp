// Knowledge distillation: labels and a teacher's soft targets in one loss. Pure functions; thread safe.
#pragma once

#include <torch/torch.h>

#include "trainer/dataset.hpp"

namespace finch::trainer {

struct LossOptions {
  double label_smoothing = 0;
  double temperature = 1;
  double distillation_weight = 0;    // w; 0: labels only, 1: teacher only
  torch::Tensor class_weights = {};  // float [classes] of the labels' part; undefined: all 1
};

// How a batch was mixed: image i is `share` of its own and the rest of image i + 1, the last one's the first.
struct Mixing {
  double share = 1;             // 1: not mixed
  bool teacher_saw_it = false;  // its logits are of the mixed images, not of each alone
};

// (1 - w) CE(labels, smoothed) + w T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over the batch: Hinton,
// Vinyals and Dean 2015, section 2. Logits [N, classes], labels int64 [N]. `teacher_logits` undefined: labels only. In
// a mixed batch the labels are mixed like the images, and so are the teacher's softened probabilities, unless it saw
// the mixed images.
torch::Tensor distillation_loss(const torch::Tensor& logits, const torch::Tensor& labels,
                                const torch::Tensor& teacher_logits, const LossOptions& options,
                                const Mixing& mixing = {});

// Each class as heavy as every other, 1 on average over the images: N / (classes * images of the class); 0 for a class
// without images. float [classes].
torch::Tensor balanced_class_weights(const ImageSplit& split, std::int64_t classes);

}  // namespace finch::trainer
