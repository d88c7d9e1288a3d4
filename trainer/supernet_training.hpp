// Trains all networks of a space at once, as one supernet: distillation in place and from a teacher's cached soft
// targets. Resumable at any step. Not thread safe; reproducible from the seed, bit for bit on one thread.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "trainer/active_clock.hpp"
#include "trainer/batch_source.hpp"
#include "trainer/optimizer.hpp"
#include "trainer/subnet_sampler.hpp"
#include "trainer/supernet.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {

struct SupernetOptions {
  TrainingOptions training;  // epochs: passes over the split; each batch teaches all networks of its step
  CostLimits limits;         // of the networks that shall learn
  SubnetSampling sampling = SubnetSampling::sandwich;
  int subnets = 4;               // of a step
  double split_after = 1;        // of the steps, 0..1; see Supernet::split_by_resolution. 1: never
  double in_place_weight = 0.5;  // of the first network's answers in the loss of the others, 0..1
};

class SupernetTraining {
 public:
  // `space`, `supernet` and `split` must outlive this. `soft_targets`, `group`: as for Training.
  SupernetTraining(Supernet& supernet, const search::SearchSpace& space, const ImageSplit& split,
                   torch::Tensor soft_targets, const SupernetOptions& options,
                   ProcessGroup& group = ProcessGroup::alone());

  std::int64_t total_steps() const { return total_steps_; }
  std::int64_t step() const { return step_; }
  // One batch, several networks, one change of the shared weights (BigNAS, Yu et al. 2020, section 3.1).
  // REQUIRES: step() < total_steps(). Error: no network of the space keeps the limits, or a loss is no finite number.
  std::expected<void, Error> make_step();
  double seconds() const { return seconds_before_ + clock_.seconds(); }  // of training, without stops
  std::int64_t images() const { return images_; }                        // that went through a network

  // All that the next step depends on: weights, moments, generators, step.
  std::string checkpoint();
  // Goes on where a training with the same arguments stood. Error: not such a file; nothing is changed then.
  std::expected<void, Error> restore(const std::filesystem::path& checkpoint);

 private:
  void split();

  Supernet& supernet_;
  const search::SearchSpace& space_;
  torch::Tensor soft_targets_;
  SupernetOptions options_;
  ProcessGroup& group_;
  std::int64_t total_steps_, split_step_, step_ = 0, images_ = 0;
  double seconds_before_ = 0;  // in earlier processes
  ActiveClock clock_;
  SubnetSampler sampler_;
  BatchSource batches_;
  std::vector<torch::Tensor> parameters_;  // all shared weights
  AdamW optimizer_;
};

}  // namespace finch::trainer
