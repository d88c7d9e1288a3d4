// Takes a trained model through the steps of compression: after each, the file is validated on the device and measured
// there in turn with the one before it, and what costs too much accuracy or does not pay is undone. Asks for what is
// due and records what came of it; safe to repeat. Not thread safe.
#pragma once

#include <cstddef>
#include <expected>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "controller/campaign/job_board.hpp"
#include "controller/campaign/step_judgement.hpp"
#include "controller/config/measure_parameters.hpp"

namespace finch::controller {

// What is compressed, and how; what of it a job's result depends on is in its message.
struct PipelineTask {
  std::string what;  // for people, in front of a line: "finalist 12: "; may be empty
  PipelineConfig config;
  bool deploys_int8 = false;     // whatever it gains: then "quantize" is kept
  protocol::ReadModel original;  // with its data
  std::string data_hash;
  std::optional<protocol::ArtifactRef> soft_targets;  // of the trainings; none: labels only
  protocol::Quantize quantize;
  std::function<protocol::Recipe(double epochs)> recipe;
  protocol::DeviceDescription device;
  std::function<protocol::Deploy(const std::string& precision)> deploy;
  std::string tier;
  MeasureOverrides measure = {};
};

class CompressionPipeline {
 public:
  using Step = std::expected<void, Error>;
  struct Access {
    // The result, a failure included; nothing: not there yet.
    std::function<std::expected<std::optional<protocol::JobResult>, Error>(const JobRequest&)> ask;
    // An event for PipelineState::apply(), which `state` has taken in when this returns.
    std::function<Step(const std::string& type, nlohmann::json data)> record;
    std::function<void(std::string line)> say;    // for the user
    std::function<Step(std::size_t index)> keep;  // the step's files, before it is decided
  };

  // `state`: what the events so far say; both must outlive this.
  CompressionPipeline(PipelineTask task, const PipelineState& state, const Access& access)
      : task_(std::move(task)), state_(state), access_(access) {}

  // The original is read, validated and measured. Does one thing towards it that can be done now; false: waits. Errors:
  // it cannot be read, validated or measured; the farm's.
  std::expected<bool, Error> advance_original();
  // Likewise until every step is decided. A step that fails is undone, with its reason. REQUIRES: the original is
  // decided.
  std::expected<bool, Error> advance_steps();

 private:
  using Answer = std::expected<std::optional<protocol::JobResult>, Error>;  // nothing: waits
  std::expected<bool, Error> advance(std::size_t index);
  JobRequest making(std::size_t index) const;
  JobRequest validating(std::size_t index) const;
  JobRequest measuring(std::size_t index, int attempt) const;
  Answer measure(std::size_t index) const;  // anew while it is INVALID
  Step decide(std::size_t index);
  Step settle(std::size_t index, const Judgement& judgement);

  PipelineTask task_;
  const PipelineState& state_;
  const Access& access_;
};

// The file over the images, on the device.
JobRequest evaluation_request(const PipelineTask& task, const protocol::ExportedFile& file,
                              const protocol::ArtifactRef& images, const std::string& description);

}  // namespace finch::controller
