#include "trainer/distillation_loss.hpp"

namespace finch::trainer {

torch::Tensor distillation_loss(const torch::Tensor& logits, const torch::Tensor& labels,
                                const torch::Tensor& teacher_logits, const LossOptions& options) {
  const double weight = teacher_logits.defined() ? options.distillation_weight : 0;
  torch::Tensor loss;
  if (weight < 1) {
    loss = (1 - weight) * torch::cross_entropy_loss(logits, labels, /*weight=*/{}, at::Reduction::Mean,
                                                    /*ignore_index=*/-100, options.label_smoothing);
  }
  if (weight > 0) {
    const double temperature = options.temperature;
    const torch::Tensor student = torch::log_softmax(logits / temperature, 1);
    const torch::Tensor teacher = torch::log_softmax(teacher_logits / temperature, 1);
    const torch::Tensor divergence = (teacher.exp() * (teacher - student)).sum(1).mean();
    const torch::Tensor soft = weight * temperature * temperature * divergence;
    loss = loss.defined() ? loss + soft : soft;
  }
  return loss;
}

}  // namespace finch::trainer
