// What is known of a step of compression, and whether it stays. Plain values and pure functions; thread safe.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "controller/config/compression_steps.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {

struct StepState {
  std::string step;      // "prune=0.5"; the first is "original"
  std::size_t base = 0;  // which it began from
  std::optional<protocol::CompressedModel> model;
  std::optional<protocol::Evaluation> validation, test;
  std::optional<protocol::Measurement> measurement;  // paired with the base's file
  bool decided = false, kept = false;
  std::string reason;  // why it was kept or undone
};

// The original and every step so far, as events tell it.
struct PipelineState {
  PipelineState() { steps.emplace_back().step = "original"; }

  std::vector<StepState> steps;

  std::size_t last_kept() const;
  bool done(const PipelineConfig& config) const;
  // An event of CompressionPipeline's: "begun", "model", "validated", "tested", "measured", "decided". Throws
  // std::exception: it does not fit.
  void apply(const std::string& type, const nlohmann::json& data);
};

struct Judgement {
  bool kept = false;
  std::string reason;
};

// Whether a step stays: not if its accuracy is more than max_accuracy_drop below the original's, nor if the
// measurement, paired with the base's file and with its 95 % interval, shows no gain in what the step is to save.
// REQUIRES: all three are validated and measured.
Judgement judge(const PipelineConfig& config, const StepConfig& step, const StepState& original, const StepState& base,
                const StepState& changed);

}  // namespace finch::controller
