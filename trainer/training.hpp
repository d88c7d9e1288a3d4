// Trains a network on one split: augmented batches, cosine schedule with warm-up, distillation from cached soft
// targets, on the processor or a GPU. Not thread safe; kernels use LibTorch's threads. Reproducible from the seed on
// one thread of the processor; a GPU's sums come out in another order each time.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "trainer/batch_source.hpp"
#include "trainer/distillation_loss.hpp"
#include "trainer/error.hpp"
#include "trainer/live_teacher.hpp"
#include "trainer/network_module.hpp"
#include "trainer/optimizer.hpp"
#include "trainer/process_group.hpp"
#include "trainer/weight_constraint.hpp"
#include "trainer/work_graph.hpp"

namespace finch::trainer {

struct TrainingOptions {
  double epochs = 1;  // may be a fraction; at least one step is made
  std::int64_t batch_size = 128;
  double learning_rate = 0.01;  // peak
  double weight_decay = 5e-4;   // not of biases and BatchNorm
  LossOptions loss;
  double feature_weight = 1;  // of a live teacher's features in the loss
  Augmentation augmentation;
  std::uint64_t seed = 1;
  torch::Device device = torch::kCPU;  // where the module is moved to
};

// Of a training on the split; a batch is never greater than it.
std::int64_t steps_of(const TrainingOptions& options, const ImageSplit& split);

class Training {
 public:
  // `module` and `split` must outlive this. `soft_targets`: logits [N, 2, classes] of plain and mirrored images of
  // `split`, or undefined. `live_teacher`: runs on every batch, and its answers take their place. `group`: the
  // processes that train this together, all with the same arguments; their weights stay the same, BatchNorm's
  // statistics are each one's own. Moves the module to the options' device, where it stays, and to training mode.
  Training(NetworkModule& module, const ImageSplit& split, torch::Tensor soft_targets, const TrainingOptions& options,
           std::unique_ptr<LiveTeacher> live_teacher = nullptr, ProcessGroup& group = ProcessGroup::alone());

  std::int64_t total_steps() const { return total_steps_; }
  std::int64_t step() const { return step_; }
  std::int64_t batch_size() const { return batch_size_; }
  // What holds for the weights now holds after every step. `constraint` must outlive this.
  void keep(const WeightConstraint& constraint) { constraint_ = &constraint; }
  // One batch. REQUIRES: step() < total_steps(). Error: the loss is no finite number; the weights are as before then.
  std::expected<void, Error> make_step();

 private:
  // What a step's work reads and writes on a GPU, the same tensors each time.
  struct Recorded {
    std::unique_ptr<WorkGraph> graph;
    Batch batch;
    torch::Tensor teacher;              // float32 [N, classes], or undefined
    torch::Tensor learning_rate, loss;  // float32 []
  };

  bool can_be_recorded() const;
  torch::Tensor teacher_answer(const Batch& batch) const;
  // Gradients of the loss times `share`; gives that loss, float32 [].
  torch::Tensor differentiate(const Batch& batch, const torch::Tensor& teacher, double share);
  std::expected<void, Error> make_recorded_step(const Batch& batch);

  NetworkModule& module_;
  torch::Tensor soft_targets_;
  std::unique_ptr<LiveTeacher> live_teacher_;
  TrainingOptions options_;
  ProcessGroup& group_;
  std::int64_t batch_size_, total_steps_;
  std::int64_t step_ = 0;
  BatchSource batches_;
  std::vector<torch::Tensor> parameters_;  // that learn, the live teacher's translations included
  AdamW optimizer_;
  const WeightConstraint* constraint_ = nullptr;
  std::optional<Recorded> recorded_;
};

// Error: the loss is infinite or no number, which no later step would mend.
std::expected<void, Error> check_finite(double loss, std::int64_t step, std::int64_t total_steps);

// From 0 to 1, and what is being done.
using ProgressReport = std::function<void(double fraction)>;

struct TrainingTiming {
  double seconds = 0;  // without the time the process was stopped
  double images_per_second = 0;
};

// All steps. Error: that of a step.
std::expected<TrainingTiming, Error> run(Training& training, const ProgressReport& progress);

}  // namespace finch::trainer
