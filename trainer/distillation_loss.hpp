// Knowledge distillation: labels and a teacher's soft targets in one loss. Pure functions; thread safe.
#pragma once

#include <torch/torch.h>

namespace finch::trainer {

struct LossOptions {
  double label_smoothing = 0;
  double temperature = 1;
  double distillation_weight = 0;  // w; 0: labels only, 1: teacher only
};

// (1 - w) CE(labels, smoothed) + w T^2 KL(softmax(teacher / T) || softmax(student / T)), mean over the batch: Hinton,
// Vinyals and Dean 2015, section 2. Logits [N, classes], labels int64 [N]. `teacher_logits` undefined: labels only.
torch::Tensor distillation_loss(const torch::Tensor& logits, const torch::Tensor& labels,
                                const torch::Tensor& teacher_logits, const LossOptions& options);

}  // namespace finch::trainer
