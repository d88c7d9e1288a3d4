#include "trainer/training.hpp"

#include <algorithm>
#include <cmath>
#include <format>

#include "trainer/active_clock.hpp"
#include "trainer/learning_rate.hpp"

namespace finch::trainer {

std::int64_t steps_of(const TrainingOptions& options, const ImageSplit& split) {
  const auto batch = static_cast<double>(std::min(options.batch_size, split.size()));
  return std::max<std::int64_t>(1, std::llround(options.epochs * static_cast<double>(split.size()) / batch));
}

namespace {

std::vector<torch::Tensor> all_parameters(NetworkModule& module, const LiveTeacher* teacher) {
  std::vector<torch::Tensor> all = module.parameters();
  if (teacher != nullptr) {
    for (torch::Tensor& parameter : teacher->parameters()) all.push_back(std::move(parameter));
  }
  return all;
}

}  // namespace

Training::Training(NetworkModule& module, const ImageSplit& split, torch::Tensor soft_targets,
                   const TrainingOptions& options, std::unique_ptr<LiveTeacher> live_teacher, ProcessGroup& group)
    : module_(module),
      soft_targets_(std::move(soft_targets)),
      live_teacher_(std::move(live_teacher)),
      options_(options),
      group_(group),
      batch_size_(std::min(options.batch_size, split.size())),
      total_steps_(steps_of(options, split)),
      batches_(split, batch_size_, options.augmentation, options.seed,
               loading_for(options.augmentation, options.device)),
      parameters_(all_parameters(module, live_teacher_.get())),
      optimizer_(parameters_, options.weight_decay) {
  module_.move_to(options.device);
  if (live_teacher_) live_teacher_->move_to(options.device);
  module_.train();
  torch::Tensor& class_weights = options_.loss.class_weights;
  if (class_weights.defined()) class_weights = class_weights.to(options_.device, torch::kFloat);
}

// Only what is the same in each step: the share of mixed images is not, nor what a teacher or a constraint does.
bool Training::can_be_recorded() const {
  return WorkGraph::can_record(options_.device) && !live_teacher_ && !group_.several() && constraint_ == nullptr &&
         !options_.augmentation.mixes() && !module_.forward_is_replaced();
}

torch::Tensor Training::teacher_answer(const Batch& batch) const {
  if (live_teacher_) return live_teacher_->answer(batch.images);
  if (!soft_targets_.defined()) return {};
  return soft_targets_.index({batch.indices, batch.flipped}).to(options_.device, torch::kFloat);
}

torch::Tensor Training::differentiate(const Batch& batch, const torch::Tensor& teacher, double share) {
  optimizer_.zero_grad();
  const torch::Tensor logits =
      module_.forward(batch.images, live_teacher_ ? live_teacher_->student_observer() : NetworkModule::Observer());
  torch::Tensor loss = distillation_loss(logits, batch.labels, teacher, options_.loss,
                                         {.share = batch.share, .teacher_saw_it = live_teacher_ != nullptr});
  if (live_teacher_) {
    if (const torch::Tensor features = live_teacher_->feature_loss(); features.defined())
      loss = loss + options_.feature_weight * features;
  }
  loss = share * loss;
  loss.backward();
  return loss.detach();
}

std::expected<void, Error> Training::make_recorded_step(const Batch& batch) {
  const torch::Tensor teacher = teacher_answer(batch);
  if (!recorded_) {
    const auto floats = torch::TensorOptions(torch::kFloat).device(options_.device);
    recorded_ = {.graph = std::make_unique<WorkGraph>(options_.device),
                 .batch = batch.on(options_.device),
                 .teacher = teacher,
                 .learning_rate = torch::empty({}, floats),
                 .loss = torch::empty({}, floats)};
  }
  recorded_->batch.images.copy_(batch.images, /*non_blocking=*/true);
  recorded_->batch.labels.copy_(batch.labels, /*non_blocking=*/true);
  if (teacher.defined()) recorded_->teacher.copy_(teacher);
  recorded_->learning_rate.fill_(learning_rate_at(options_.learning_rate, step_, total_steps_));
  recorded_->graph->run([this] {
    recorded_->loss.copy_(differentiate(recorded_->batch, recorded_->teacher, /*share=*/1));
    optimizer_.step(recorded_->learning_rate, recorded_->loss.isfinite().logical_not().to(torch::kFloat));
  });
  return check_finite(recorded_->loss.item<double>(), step_, total_steps_);
}

std::expected<void, Error> Training::make_step() {
  const Batch whole = batches_.next();
  if (can_be_recorded()) {
    if (auto made = make_recorded_step(whole); !made) return made;
    ++step_;
    return {};
  }
  const auto own = group_.own_part(whole);
  if (!own) return std::unexpected(own.error());
  const Batch batch = own->on(options_.device);
  const torch::Tensor loss = differentiate(batch, teacher_answer(batch), share_of(batch, whole));
  const double mean_loss = group_.sum_gradients(parameters_, loss.item<double>());
  if (auto finite = check_finite(mean_loss, step_, total_steps_); !finite) return finite;
  if (constraint_ != nullptr) constraint_->constrain_gradients();
  optimizer_.step(learning_rate_at(options_.learning_rate, step_, total_steps_));
  if (constraint_ != nullptr) constraint_->constrain_weights();
  ++step_;
  return {};
}

std::expected<void, Error> check_finite(double loss, std::int64_t step, std::int64_t total_steps) {
  if (std::isfinite(loss)) return {};
  return std::unexpected(
      Error{std::format("the training diverged: the loss is {} in step {} of {}; a lower learning_rate helps", loss,
                        step + 1, total_steps)});
}

std::expected<TrainingTiming, Error> run(Training& training, const ProgressReport& progress) {
  const ActiveClock clock;
  const std::int64_t first = training.step();
  while (training.step() < training.total_steps()) {
    if (auto made = training.make_step(); !made) return std::unexpected(made.error());
    progress(static_cast<double>(training.step()) / static_cast<double>(training.total_steps()));
  }
  TrainingTiming timing{.seconds = clock.seconds()};
  const auto images = static_cast<double>((training.step() - first) * training.batch_size());
  timing.images_per_second = images / std::max(timing.seconds, 1e-9);
  return timing;
}

}  // namespace finch::trainer
