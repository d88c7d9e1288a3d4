// What a compression knows, as its events tell it, and the judgement of its steps. A plain value; not thread safe.
#pragma once

#include <cstddef>
#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "controller/campaign/event_store.hpp"
#include "controller/compression/compression_config.hpp"
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

struct CompressionState {
  CompressionConfig config;
  std::string started, finished;  // UTC
  std::optional<protocol::DeviceDescription> device;
  std::optional<protocol::DataFacts> data;
  std::optional<protocol::TrainedTeacher> teacher;
  std::vector<StepState> steps;

  std::size_t last_kept() const;  // REQUIRES: the original is there
  // Errors: an event that does not fit (a damaged log, a newer Finch).
  std::expected<void, Error> apply(const Event& event);
};

struct Judgement {
  bool kept = false;
  std::string reason;
};

// Whether a step stays: not if its accuracy is more than max_accuracy_drop below the original's, nor if the
// measurement, paired with the base's file and with its 95 % interval, shows no gain in what the step is to save.
// REQUIRES: all three are validated and measured.
Judgement judge(const CompressionConfig& config, const StepConfig& step, const StepState& original,
                const StepState& base, const StepState& changed);

}  // namespace finch::controller
