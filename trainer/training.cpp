#include "trainer/training.hpp"

#include <algorithm>
#include <cmath>

#include "trainer/active_clock.hpp"
#include "trainer/learning_rate.hpp"

namespace finch::trainer {
namespace {

// AdamW (Loshchilov and Hutter 2019); biases and BatchNorm do not decay.
std::unique_ptr<torch::optim::Optimizer> make_optimizer(const NetworkModule& module, const TrainingOptions& options) {
  std::vector<torch::Tensor> decayed, others;
  for (const torch::Tensor& parameter : module.parameters()) {
    (parameter.dim() > 1 ? decayed : others).push_back(parameter);
  }
  const auto group_options = [&](double weight_decay) {
    return std::make_unique<torch::optim::AdamWOptions>(
        torch::optim::AdamWOptions(options.learning_rate).weight_decay(weight_decay));
  };
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(decayed, group_options(options.weight_decay));
  groups.emplace_back(others, group_options(0));
  return std::make_unique<torch::optim::AdamW>(std::move(groups));
}

}  // namespace

Training::Training(NetworkModule& module, const ImageSplit& split, torch::Tensor soft_targets,
                   const TrainingOptions& options)
    : module_(module),
      soft_targets_(std::move(soft_targets)),
      options_(options),
      batch_size_(std::min(options.batch_size, split.size())),
      total_steps_(std::max<std::int64_t>(
          1, std::llround(options.epochs * static_cast<double>(split.size()) / static_cast<double>(batch_size_)))),
      batches_(split, batch_size_, options.augmentation, options.seed),
      optimizer_(make_optimizer(module, options)) {
  module_.train();
}

void Training::make_step() {
  const double rate = learning_rate_at(options_.learning_rate, step_, total_steps_);
  for (auto& group : optimizer_->param_groups()) group.options().set_lr(rate);
  const Batch batch = batches_.next();
  torch::Tensor teacher;
  if (soft_targets_.defined()) teacher = soft_targets_.index({batch.indices, batch.flipped}).to(torch::kFloat);
  optimizer_->zero_grad();
  distillation_loss(module_.forward(batch.images), batch.labels, teacher, options_.loss).backward();
  optimizer_->step();
  ++step_;
}

TrainingTiming run(Training& training, const ProgressReport& progress) {
  const ActiveClock clock;
  const std::int64_t first = training.step();
  while (training.step() < training.total_steps()) {
    training.make_step();
    progress(static_cast<double>(training.step()) / static_cast<double>(training.total_steps()));
  }
  TrainingTiming timing{.seconds = clock.seconds()};
  const auto images = static_cast<double>((training.step() - first) * training.batch_size());
  timing.images_per_second = images / std::max(timing.seconds, 1e-9);
  return timing;
}

}  // namespace finch::trainer
