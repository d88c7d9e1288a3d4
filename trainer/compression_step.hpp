// The steps of compression, by name: each takes a model and gives a cheaper or a better one. Plugin point. Not thread
// safe.
#pragma once

#include <torch/torch.h>

#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/model_file.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {

struct CompressionTask {
  const Dataset& dataset;
  double amount = 0;                        // what it means depends on the step
  std::optional<TrainingOptions> training;  // that belongs to the step; none: the weights stay as the step leaves them
  torch::Tensor soft_targets;               // [N, 2, classes], or undefined: labels only
  ProgressReport progress;
};

class CompressionStep {
 public:
  virtual ~CompressionStep() = default;
  // What is worth saying of it goes to `notes`. Errors: an amount out of range, a model that the step cannot be applied
  // to, a training that diverged.
  virtual std::expected<Model, Error> apply(Model model, const CompressionTask& task,
                                            std::vector<std::string>& notes) = 0;
};

class CompressionSteps {
 public:
  using Factory = std::function<std::unique_ptr<CompressionStep>()>;
  // A later one of a name replaces the earlier.
  void add(const std::string& name, Factory factory) { factories_[name] = std::move(factory); }
  // Error: unknown; names the known ones.
  std::expected<std::unique_ptr<CompressionStep>, Error> make(const std::string& name) const;

 private:
  std::map<std::string, Factory> factories_;
};

// The task's training, if it has one; leaves the module in evaluation mode. `constraint`: what holds for the weights
// now and is to hold afterwards; null: nothing.
std::expected<void, Error> fine_tune(Model& model, const CompressionTask& task,
                                     const WeightConstraint* constraint = nullptr);

// "distill": training, amount = epochs. "quantize": deployed as int8 from now on. "prune": channels removed, amount =
// share of the MACs. "cluster": shared weights, amount = bits of an index. Training follows the last two.
void register_builtin_compression_steps(CompressionSteps& steps);
void register_pruning_steps(CompressionSteps& steps);  // "prune" and "cluster", of those

}  // namespace finch::trainer
