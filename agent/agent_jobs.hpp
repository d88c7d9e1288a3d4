// The agent's side of protocol/worker.hpp: says what this device is, measures and evaluates.
#pragma once

#include <filesystem>
#include <string>

#include "agent/board_power.hpp"
#include "agent/engine_build.hpp"
#include "agent/evaluate.hpp"
#include "agent/inference_runtime.hpp"
#include "agent/launch.hpp"
#include "agent/measure.hpp"
#include "agent/reference_baseline.hpp"
#include "agent/system_files.hpp"
#include "protocol/farm.pb.h"
#include "protocol/worker.hpp"

namespace finch::agent {

struct AgentSettings {
  std::string name;  // as invited
  std::string profile;
  RuntimeLibraries libraries{};
  SystemFiles files{};
  Launcher launcher{};
  PowerSettings power{};
  std::filesystem::path state_folder{};  // where baselines and engines are kept; empty: nowhere
};

// Thread safe as JobHandler asks: run() on one thread, hello() on another.
class AgentJobs : public protocol::JobHandler {
 public:
  // Looks at the device and asks the runtime, which takes a moment.
  explicit AgentJobs(AgentSettings settings);

  protocol::Hello hello() override;
  protocol::JobResult run(const protocol::Job& job, protocol::JobContext& context) override;

  // As it is now: governor and power mode may have changed since the start, and with them the state hash.
  protocol::DeviceDescription device() const;

 private:
  MeasureSettings settings_for(protocol::JobContext& context) const;
  EvaluateSettings evaluating(const protocol::DeviceDescription& now, const protocol::Deploy& deploy,
                              protocol::JobContext& context) const;
  protocol::JobResult run_measure(const protocol::Measure& job, protocol::JobContext& context);
  protocol::JobResult run_calibrate(const protocol::Calibrate& job, protocol::JobContext& context);
  protocol::JobResult run_evaluate(const protocol::Evaluate& job, protocol::JobContext& context);
  protocol::JobResult run_compute_logits(const protocol::ComputeLogits& job, protocol::JobContext& context);

  AgentSettings settings_;
  ReferenceBaselines baselines_;
  protocol::DeviceDescription device_;  // as it was at the start
};

}  // namespace finch::agent
