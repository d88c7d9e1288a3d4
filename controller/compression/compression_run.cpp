#include "controller/compression/compression_run.hpp"

#include <algorithm>
#include <format>

#include "controller/campaign/artifact_copy.hpp"
#include "controller/campaign/event_messages.hpp"
#include "controller/campaign/quantizing.hpp"
#include "controller/campaign/space_spec.hpp"
#include "controller/compression/compression_report.hpp"
#include "controller/config/device_profile.hpp"
#include "controller/config/space_description.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/input_shape.hpp"

namespace finch::controller {
namespace {

std::expected<protocol::ArtifactRef, Error> add_file(const Home& home, const std::filesystem::path& file) {
  protocol::ArtifactStore artifacts(home.artifacts());
  const auto hash = artifacts.add_file(file);
  if (!hash) return std::unexpected(Error{hash.error().message, ExitCode::usage});
  protocol::ArtifactRef artifact;
  artifact.set_sha256(*hash);
  artifact.set_size_bytes(static_cast<std::int64_t>(std::filesystem::file_size(artifacts.path_of(*hash))));
  return artifact;
}

}  // namespace

std::expected<std::unique_ptr<CompressionRun>, Error> CompressionRun::create(const CompressionConfig& config,
                                                                             const std::filesystem::path& path) {
  auto folder = RunFolder::create(path, kCompressionDatabase);
  if (!folder) return std::unexpected(folder.error());
  auto events = EventStore::open(folder->database());
  if (!events) return std::unexpected(events.error());
  std::unique_ptr<CompressionRun> run(new CompressionRun(std::move(*folder), std::move(*events)));
  if (auto recorded = run->record("created", {{"config", to_json(config)}, {"version", FINCH_VERSION}}); !recorded)
    return std::unexpected(recorded.error());
  return run;
}

std::expected<std::unique_ptr<CompressionRun>, Error> CompressionRun::open(const std::filesystem::path& path) {
  auto folder = RunFolder::open(path, kCompressionDatabase);
  if (!folder) return std::unexpected(folder.error());
  auto store = EventStore::open(folder->database());
  if (!store) return std::unexpected(store.error());
  std::unique_ptr<CompressionRun> run(new CompressionRun(std::move(*folder), std::move(*store)));
  const auto events = run->events_.load();
  if (!events) return std::unexpected(events.error());
  if (events->empty())
    return std::unexpected(
        Error{path.string() + ": was killed before it began; run finch compress anew", ExitCode::usage});
  for (const Event& event : *events) {
    if (auto applied = run->state_.apply(event); !applied) return std::unexpected(applied.error());
  }
  return run;
}

CompressionRun::Step CompressionRun::record(const std::string& type, nlohmann::json data) {
  const auto event = events_.append(type, 0, std::move(data));
  if (!event) return std::unexpected(event.error());
  return state_.apply(*event);
}

std::expected<void, Error> CompressionRun::run(const Home& home, const Farm& farm) {
  if (!state_.finished.empty()) return {};
  if (auto met = meet_device(farm); !met) return met;
  if (auto read = read_data(farm); !read) return read;
  const CompressionPipeline::Access access{
      .ask = [&](const JobRequest& request) -> std::expected<std::optional<protocol::JobResult>, Error> {
        auto result = farm.ask(request);
        if (result) return std::move(*result);
        if (result.error().exit_code == ExitCode::interrupted) return std::unexpected(result.error());
        protocol::JobResult failed;
        failed.mutable_failure()->set_message(result.error().message);
        return failed;
      },
      .record = [&](const std::string& type, nlohmann::json data) { return record(type, std::move(data)); },
      .say = farm.say,
      .keep = [&](std::size_t index) { return keep_files(index, home); }};
  auto task = task_of(home);
  if (!task) return std::unexpected(task.error());
  CompressionPipeline original(*task, state_.pipeline, access);
  while (!state_.pipeline.steps[0].decided) {
    if (auto advanced = original.advance_original(); !advanced) return std::unexpected(advanced.error());
  }
  if (auto settled = settle_teacher(home, farm); !settled) return settled;
  if (state_.teacher) task->soft_targets = state_.teacher->soft_targets();
  CompressionPipeline steps(*task, state_.pipeline, access);
  while (!state_.pipeline.done(state_.config.pipeline)) {
    if (auto advanced = steps.advance_steps(); !advanced) return std::unexpected(advanced.error());
    if (!state_.pipeline.steps.back().decided) continue;
    if (auto written = write_compression_report(state_, folder_.path()); !written) return written;
  }
  for (const std::size_t index : {std::size_t{0}, state_.pipeline.last_kept()}) {
    if (auto tested = test(index, *task, farm); !tested) return tested;
  }
  if (auto finished = record("finished", nlohmann::json::object()); !finished) return finished;
  return write_compression_report(state_, folder_.path());
}

CompressionRun::Step CompressionRun::meet_device(const Farm& farm) {
  const auto device = farm.device(state_.config.device);
  if (!device) return std::unexpected(device.error());
  if (state_.config.pipeline.gain == "energy" && !std::ranges::contains(device->measures(), "energy")) {
    return std::unexpected(
        Error{std::format("{} measures no energy; ask for another --gain, or see: finch devices", state_.config.device),
              ExitCode::usage});
  }
  if (state_.device && state_.device->state_hash() == device->state_hash()) return {};
  return record("device", {{"result", to_json(*device)}});
}

CompressionRun::Step CompressionRun::read_data(const Farm& farm) {
  if (state_.data) return {};
  JobRequest request{.job = {}, .target = "", .priority = 80, .depends_on = "", .description = "Reading the data"};
  *request.job.mutable_inspect_data()->mutable_data() = data_spec();
  // Files may have changed since the last time: looked at anew.
  request.depends_on = state_.started;
  const auto result = farm.ask(request);
  if (!result) return std::unexpected(result.error());
  return record("data", {{"result", to_json(result->data_facts())}});
}

std::expected<PipelineTask, Error> CompressionRun::task_of(const Home& home) const {
  const CompressionConfig& config = state_.config;
  PipelineTask task{.what = {},
                    .config = config.pipeline,
                    .original = {},
                    .data_hash = state_.data->data_hash(),
                    .soft_targets = {},
                    .quantize = quantize_spec(config.quantize),
                    .recipe = [this](double epochs) { return recipe(epochs); },
                    .device = *state_.device,
                    .deploy = [this](const std::string& precision) { return deploy(precision); },
                    .tier = config.tier};
  auto overrides = measure_overrides_of(state_.device->profile());
  if (!overrides) return std::unexpected(overrides.error());
  task.measure = std::move(*overrides);
  const auto file = add_file(home, config.model);
  if (!file) return std::unexpected(file.error());
  protocol::ReadModel& job = task.original;
  *job.mutable_data() = data_spec();
  *job.mutable_file() = *file;
  job.set_origin(config.origin);
  if (!config.shape.empty()) *job.mutable_shape() = shape();
  job.mutable_mean()->Add(config.mean.begin(), config.mean.end());
  job.mutable_stddev()->Add(config.stddev.begin(), config.stddev.end());
  if (config.space.empty()) return task;
  CampaignConfig described;
  described.space = config.space;
  if (!config.space_definition.empty()) {
    auto space = parse_space(config.space_definition, config.space + ".toml");
    if (!space) return std::unexpected(space.error());
    described.space_file = SpaceFile{config.space + ".toml", config.space_definition, std::move(space->config)};
  }
  *job.mutable_space() = space_spec(described, *state_.data);
  job.mutable_genotype()->Add(config.genotype.begin(), config.genotype.end());
  return task;
}

CompressionRun::Step CompressionRun::settle_teacher(const Home& home, const Farm& farm) {
  const auto trains = [&](const StepConfig& step) {
    if (step.name == "quantize") return state_.config.quantize.qat_epochs > 0;
    return step.name == "distill" || state_.config.pipeline.epochs > 0;
  };
  if (state_.teacher || std::ranges::none_of(state_.config.pipeline.steps, trains)) return {};
  JobRequest request{.job = {},
                     .target = "",
                     .priority = 80,
                     .depends_on = state_.data->data_hash(),
                     .description = "Asking the teacher"};
  protocol::TrainTeacher& job = *request.job.mutable_train_teacher();
  *job.mutable_data() = data_spec();
  *job.mutable_recipe() = recipe(1);
  *job.add_torchscript() = state_.pipeline.steps[0].model->model();
  if (!state_.config.teacher.empty()) {
    const auto file = add_file(home, state_.config.teacher);
    if (!file) return std::unexpected(file.error());
    *job.add_torchscript() = *file;
  }
  const auto result = farm.ask(request);
  if (!result) return std::unexpected(result.error());
  return record("teacher", {{"result", to_json(result->trained_teacher())}});
}

CompressionRun::Step CompressionRun::test(std::size_t index, const PipelineTask& task, const Farm& farm) {
  const StepState& step = state_.pipeline.steps[index];
  if (step.test) return {};
  const auto result = farm.ask(evaluation_request(task, step.model->file(), state_.data->test_set(),
                                                  std::format("Testing {} on {}", step.step, state_.config.device)));
  if (!result) return std::unexpected(result.error());
  return record("tested", {{"index", index}, {"result", to_json(result->evaluation())}});
}

CompressionRun::Step CompressionRun::keep_files(std::size_t index, const Home& home) {
  const StepState& step = state_.pipeline.steps[index];
  const std::string name = step_file_name(state_, index);
  if (step.measurement && step.measurement->has_raw()) {
    const std::string& raw = step.measurement->raw().sha256();
    if (auto kept = copy_artifact(home.artifacts(), raw, folder_.raw() / (name + ".f64")); !kept) return kept;
  }
  return copy_artifact(home.artifacts(), step.model->file().artifact().sha256(), folder_.models() / name);
}

protocol::InputShape CompressionRun::shape() const {
  return protocol::parse_input_shape(state_.config.shape).value();  // the command line has looked at it
}

protocol::DataSpec CompressionRun::data_spec() const {
  protocol::DataSpec spec;
  spec.set_format(state_.config.data.format);
  spec.set_path(state_.config.data.path);
  spec.set_validation_samples(state_.config.data.validation_samples);
  spec.set_seed(1);  // as a campaign's: a model of one is not validated on what it was trained on
  if (!state_.config.shape.empty()) {
    spec.set_height(shape().extents(2));
    spec.set_width(shape().extents(3));
  }
  return spec;
}

protocol::Recipe CompressionRun::recipe(double epochs) const {
  const TrainConfig usual;
  protocol::Recipe recipe;
  recipe.set_epochs(epochs);
  recipe.set_batch_size(static_cast<int>(state_.config.batch_size));
  recipe.set_learning_rate(state_.config.learning_rate);
  recipe.set_weight_decay(usual.weight_decay);
  recipe.set_label_smoothing(usual.label_smoothing);
  recipe.set_temperature(usual.temperature);
  recipe.set_distillation_weight(usual.distillation_weight);
  recipe.set_flip(state_.config.flip);
  recipe.set_threads(static_cast<int>(state_.config.threads));
  recipe.set_seed(state_.config.seed);
  return recipe;
}

protocol::Deploy CompressionRun::deploy(const std::string& precision) const {
  protocol::Deploy deploy;
  deploy.set_runtime("onnxruntime");
  deploy.set_provider(state_.config.provider);
  deploy.set_precision(precision);
  deploy.set_threads(static_cast<int>(state_.config.device_threads));
  deploy.set_batch(state_.config.shape.empty() ? 1 : static_cast<int>(shape().extents(0)));
  return deploy;
}

}  // namespace finch::controller
