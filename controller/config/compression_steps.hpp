// The steps that take a trained model through compression, as people write them. Plain values and pure functions;
// thread safe.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <vector>

#include "controller/error.hpp"

namespace finch::controller {

struct StepConfig {
  std::string name;   // "distill", "prune", "quantize", "cluster"
  double amount = 0;  // distill: epochs; prune: share of the MACs to remove; cluster: bits; quantize: nothing

  std::string text() const;  // "prune=0.5"
  bool operator==(const StepConfig&) const = default;
};

// "prune", "prune=0.5": without an amount the step's usual one. Errors: no such step (names the nearest), an amount out
// of range; exit code `usage`.
std::expected<StepConfig, Error> parse_step(std::string_view text);
std::expected<std::vector<StepConfig>, Error> parse_steps(std::string_view text);  // "distill=2,prune,quantize"

// Steps in order, and when one of them stays.
struct PipelineConfig {
  std::vector<StepConfig> steps;
  double max_accuracy_drop = 0.005;  // below the original's, on the validation images, 0..1
  // What steps other than distill must save: "latency", "memory", "energy", "size" (of the file) or "download" (of the
  // file through gzip -9). Empty: each what it is for, cluster the download, the others latency.
  std::string gain;
  double epochs = 1;  // of the training that follows prune and cluster

  std::string gain_of(const StepConfig& step) const;
  double training_epochs() const;  // of all steps together, without what quantize may train
};

std::vector<std::string> gain_names();

}  // namespace finch::controller
