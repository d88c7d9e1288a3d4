#include "trainer/distillation_loss.hpp"

namespace finch::trainer {
namespace {

torch::Tensor next_in_ring(const torch::Tensor& rows) {
  return rows.roll(-1, 0);
}

torch::Tensor cross_entropy(const torch::Tensor& logits, const torch::Tensor& labels, const LossOptions& options) {
  const auto reduction = options.class_weights.defined() ? at::Reduction::None : at::Reduction::Mean;
  const torch::Tensor weights = options.class_weights.defined()
                                    ? options.class_weights.to(logits.options().requires_grad(false))
                                    : torch::Tensor();
  const torch::Tensor loss =
      torch::cross_entropy_loss(logits, labels, weights, reduction, /*ignore_index=*/-100, options.label_smoothing);
  return loss.dim() > 0 ? loss.mean() : loss;  // LibTorch's own mean would divide by the batch's weights
}

torch::Tensor divergence(const torch::Tensor& logits, const torch::Tensor& teacher_logits, double temperature,
                         const Mixing& mixing) {
  const torch::Tensor student = torch::log_softmax(logits / temperature, 1);
  torch::Tensor teacher = torch::log_softmax(teacher_logits / temperature, 1);
  torch::Tensor probabilities = teacher.exp();
  if (mixing.share < 1 && !mixing.teacher_saw_it) {
    probabilities = mixing.share * probabilities + (1 - mixing.share) * next_in_ring(probabilities);
    teacher = probabilities.clamp_min(1e-30).log();
  }
  return (probabilities * (teacher - student)).sum(1).mean();
}

}  // namespace

torch::Tensor distillation_loss(const torch::Tensor& logits, const torch::Tensor& labels,
                                const torch::Tensor& teacher_logits, const LossOptions& options, const Mixing& mixing) {
  const double weight = teacher_logits.defined() ? options.distillation_weight : 0;
  torch::Tensor loss;
  if (weight < 1) {
    loss = mixing.share * cross_entropy(logits, labels, options);
    if (mixing.share < 1) loss = loss + (1 - mixing.share) * cross_entropy(logits, next_in_ring(labels), options);
    loss = (1 - weight) * loss;
  }
  if (weight > 0) {
    const torch::Tensor soft = weight * options.temperature * options.temperature *
                               divergence(logits, teacher_logits, options.temperature, mixing);
    loss = loss.defined() ? loss + soft : soft;
  }
  return loss;
}

torch::Tensor balanced_class_weights(const ImageSplit& split, std::int64_t classes) {
  std::vector<std::int64_t> counts(static_cast<std::size_t>(classes));
  for (const std::int32_t label : split.labels) ++counts[static_cast<std::size_t>(label)];
  std::vector<float> weights;
  for (const std::int64_t count : counts) {
    const double weight =
        static_cast<double>(split.size()) / static_cast<double>(classes * std::max<std::int64_t>(1, count));
    weights.push_back(count > 0 ? static_cast<float>(weight) : 0.0F);
  }
  return torch::tensor(weights);
}

}  // namespace finch::trainer
