#include "controller/campaign/compression_pipeline.hpp"

#include <format>
#include <utility>

#include "controller/campaign/event_messages.hpp"
#include "controller/campaign/measuring.hpp"

namespace finch::controller {
namespace {

constexpr int kMostAttempts = 2;  // to measure a file, while the verdict is INVALID

}  // namespace

JobRequest evaluation_request(const PipelineTask& task, const protocol::ExportedFile& file,
                              const protocol::ArtifactRef& images, const std::string& description) {
  JobRequest request{.job = {},
                     .target = task.device.name(),
                     .priority = 85,
                     .depends_on = task.data_hash + device_state(task.device, task.deploy(file.precision()).runtime()),
                     .description = description};
  protocol::Evaluate& job = *request.job.mutable_evaluate();
  *job.mutable_model() = file.artifact();
  *job.mutable_test_set() = images;
  *job.mutable_deploy() = task.deploy(file.precision());
  job.set_device(task.device.name());
  return request;
}

std::expected<bool, Error> CompressionPipeline::advance_original() {
  return advance(0);
}

std::expected<bool, Error> CompressionPipeline::advance_steps() {
  const std::size_t last = state_.steps.size() - 1;
  if (!state_.steps[last].decided) return advance(last);
  const std::string step = task_.config.steps[last].text();
  return access_.record("begun", {{"step", step}, {"base", state_.last_kept()}}).transform([] { return true; });
}

std::expected<bool, Error> CompressionPipeline::advance(std::size_t index) {
  const StepState& step = state_.steps[index];
  const auto done = [&](const char* type, const google::protobuf::Message& result) {
    return access_.record(type, {{"index", index}, {"result", to_json(result)}}).transform([] { return true; });
  };
  const auto answer = !step.model         ? access_.ask(making(index))
                      : !step.validation  ? access_.ask(validating(index))
                      : !step.measurement ? measure(index)
                                          : Answer(protocol::JobResult());
  if (!answer) return std::unexpected(answer.error());
  if (!*answer) return false;
  const protocol::JobResult& result = **answer;
  if (result.has_failure()) {
    if (index == 0) return std::unexpected(Error{result.failure().message()});
    return settle(index, {false, "it failed: " + result.failure().message()}).transform([] { return true; });
  }
  if (!step.model) return done("model", result.compressed_model());
  if (!step.validation) return done("validated", result.evaluation());
  if (!step.measurement) return done("measured", result.measurement());
  return decide(index).transform([] { return true; });
}

JobRequest CompressionPipeline::making(std::size_t index) const {
  JobRequest request{.job = {}, .target = "", .priority = 80, .depends_on = task_.data_hash, .description = {}};
  if (index == 0) {
    request.description = std::format("{}Reading {}", task_.what, task_.original.origin());
    *request.job.mutable_read_model() = task_.original;
    return request;
  }
  const StepConfig& wanted = task_.config.steps[index - 1];
  request.description = std::format("{}Step {}: {}", task_.what, index, state_.steps[index].step);
  protocol::CompressModel& job = *request.job.mutable_compress_model();
  *job.mutable_data() = task_.original.data();
  *job.mutable_model() = state_.steps[state_.steps[index].base].model->model();
  job.set_step(wanted.name);
  job.set_amount(wanted.amount);
  *job.mutable_recipe() = task_.recipe(wanted.name == "distill" ? wanted.amount : task_.config.epochs);
  if (task_.soft_targets) *job.mutable_soft_targets() = *task_.soft_targets;
  *job.mutable_quantize() = task_.quantize;
  return request;
}

JobRequest CompressionPipeline::validating(std::size_t index) const {
  const StepState& step = state_.steps[index];
  return evaluation_request(task_, step.model->file(), state_.steps[0].model->validation_set(),
                            std::format("{}Validating {} on {}", task_.what, step.step, task_.device.name()));
}

JobRequest CompressionPipeline::measuring(std::size_t index, int attempt) const {
  const StepState& step = state_.steps[index];
  JobRequest request{
      .job = {},
      .target = task_.device.name(),
      .priority = 90,
      .depends_on = state_of_attempt(task_.device, task_.deploy(step.model->file().precision()).runtime(), attempt),
      .description = std::format("{}Measuring {} on {} ({})", task_.what, step.step, task_.device.name(), task_.tier)};
  protocol::Measure& job = *request.job.mutable_measure();
  *job.mutable_model() = step.model->file().artifact();
  if (index > 0) *job.mutable_rival() = state_.steps[step.base].model->file().artifact();
  *job.mutable_deploy() = task_.deploy(step.model->file().precision());
  job.set_tier(task_.tier);
  job.set_device(task_.device.name());
  set_parameters(job, task_.measure);
  return request;
}

CompressionPipeline::Answer CompressionPipeline::measure(std::size_t index) const {
  Answer answer;
  for (int attempt = 1; attempt <= kMostAttempts; ++attempt) {
    answer = access_.ask(measuring(index, attempt));
    if (!answer || !*answer || (*answer)->measurement().verdict() != "INVALID") break;
  }
  return answer;
}

CompressionPipeline::Step CompressionPipeline::decide(std::size_t index) {
  if (index == 0) return settle(0, {true, "what the steps are compared with"});
  const StepConfig& step = task_.config.steps[index - 1];
  if (task_.deploys_int8 && step.name == "quantize") return settle(index, {true, "int8 is what is deployed"});
  const StepState& changed = state_.steps[index];
  return settle(index, judge(task_.config, step, state_.steps[0], state_.steps[changed.base], changed));
}

CompressionPipeline::Step CompressionPipeline::settle(std::size_t index, const Judgement& judgement) {
  if (state_.steps[index].model && access_.keep) {
    if (auto kept = access_.keep(index); !kept) return kept;
  }
  if (index > 0) {
    access_.say(std::format("{}step {} ({}) is {}: {}", task_.what, index, state_.steps[index].step,
                            judgement.kept ? "kept" : "undone", judgement.reason));
  }
  return access_.record("decided", {{"index", index}, {"kept", judgement.kept}, {"reason", judgement.reason}});
}

}  // namespace finch::controller
