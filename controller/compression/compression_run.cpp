#include "controller/compression/compression_run.hpp"

#include <algorithm>
#include <format>

#include "controller/campaign/artifact_copy.hpp"
#include "controller/campaign/campaign_state.hpp"
#include "controller/campaign/measuring.hpp"
#include "controller/campaign/space_spec.hpp"
#include "controller/compression/compression_report.hpp"
#include "controller/config/space_description.hpp"
#include "protocol/artifact_store.hpp"

namespace finch::controller {
namespace {

constexpr int kMostAttempts = 2;  // to measure a file, while the verdict is INVALID

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
  if (auto read = read_model(home, farm); !read) return read;
  if (auto settled = settle_teacher(home, farm); !settled) return settled;
  for (std::size_t index = 1; index <= state_.config.steps.size(); ++index) {
    if (state_.steps.size() == index) {
      const std::string step = state_.config.steps[index - 1].text();
      if (auto begun = record("begun", {{"step", step}, {"base", state_.last_kept()}}); !begun) return begun;
    }
    if (state_.steps[index].decided) continue;
    if (auto compressed = compress(index, farm); !compressed) return compressed;
    if (state_.steps[index].decided) continue;  // it failed
    if (auto validated = validate(index, farm); !validated) return validated;
    if (auto measured = measure(index, home, farm); !measured) return measured;
    if (auto decided = decide(index, home, farm); !decided) return decided;
  }
  for (const std::size_t index : {std::size_t{0}, state_.last_kept()}) {
    if (auto tested = test(index, farm); !tested) return tested;
  }
  if (auto finished = record("finished", nlohmann::json::object()); !finished) return finished;
  return write_compression_report(state_, folder_.path());
}

CompressionRun::Step CompressionRun::meet_device(const Farm& farm) {
  const auto device = farm.device(state_.config.device);
  if (!device) return std::unexpected(device.error());
  if (state_.config.gain == "energy" && !std::ranges::contains(device->measures(), "energy")) {
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

CompressionRun::Step CompressionRun::read_model(const Home& home, const Farm& farm) {
  const CompressionConfig& config = state_.config;
  if (!state_.steps[0].model) {
    const auto file = add_file(home, config.model);
    if (!file) return std::unexpected(file.error());
    JobRequest request{.job = {},
                       .target = "",
                       .priority = 80,
                       .depends_on = state_.data->data_hash(),
                       .description = "Reading " + config.origin};
    protocol::ReadModel& job = *request.job.mutable_read_model();
    *job.mutable_data() = data_spec();
    *job.mutable_file() = *file;
    job.set_origin(config.origin);
    job.mutable_mean()->Add(config.mean.begin(), config.mean.end());
    job.mutable_stddev()->Add(config.stddev.begin(), config.stddev.end());
    if (!config.space.empty()) {
      CampaignConfig described;
      described.space = config.space;
      if (!config.space_definition.empty()) {
        auto space = parse_space(config.space_definition, config.space + ".toml");
        if (!space) return std::unexpected(space.error());
        described.space_file = SpaceFile{config.space + ".toml", config.space_definition, std::move(space->config)};
      }
      *job.mutable_space() = space_spec(described, *state_.data);
      job.mutable_genotype()->Add(config.genotype.begin(), config.genotype.end());
    }
    const auto result = farm.ask(request);
    if (!result) return std::unexpected(result.error());
    if (auto recorded = record("model", {{"index", 0}, {"result", to_json(result->compressed_model())}}); !recorded)
      return recorded;
    if (auto kept = keep_file(0, home); !kept) return kept;
  }
  if (auto validated = validate(0, farm); !validated) return validated;
  if (auto measured = measure(0, home, farm); !measured) return measured;
  if (state_.steps[0].decided) return {};
  return record("decided", {{"index", 0}, {"kept", true}, {"reason", "what the steps are compared with"}});
}

CompressionRun::Step CompressionRun::settle_teacher(const Home& home, const Farm& farm) {
  const auto trains = [&](const StepConfig& step) {
    return step.name == "distill" || (state_.config.epochs > 0 && step.name != "quantize");
  };
  if (state_.teacher || std::ranges::none_of(state_.config.steps, trains)) return {};
  JobRequest request{.job = {},
                     .target = "",
                     .priority = 80,
                     .depends_on = state_.data->data_hash(),
                     .description = "Asking the teacher"};
  protocol::TrainTeacher& job = *request.job.mutable_train_teacher();
  *job.mutable_data() = data_spec();
  *job.mutable_recipe() = recipe(1);
  *job.add_torchscript() = state_.steps[0].model->model();
  if (!state_.config.teacher.empty()) {
    const auto file = add_file(home, state_.config.teacher);
    if (!file) return std::unexpected(file.error());
    *job.add_torchscript() = *file;
  }
  const auto result = farm.ask(request);
  if (!result) return std::unexpected(result.error());
  return record("teacher", {{"result", to_json(result->trained_teacher())}});
}

CompressionRun::Step CompressionRun::compress(std::size_t index, const Farm& farm) {
  const StepState& step = state_.steps[index];
  if (step.model) return {};
  const StepConfig& wanted = state_.config.steps[index - 1];
  JobRequest request{.job = {},
                     .target = "",
                     .priority = 80,
                     .depends_on = state_.data->data_hash(),
                     .description = std::format("Step {}: {}", index, step.step)};
  protocol::CompressModel& job = *request.job.mutable_compress_model();
  *job.mutable_data() = data_spec();
  *job.mutable_model() = state_.steps[step.base].model->model();
  job.set_step(wanted.name);
  job.set_amount(wanted.amount);
  *job.mutable_recipe() = recipe(wanted.name == "distill" ? wanted.amount : state_.config.epochs);
  if (state_.teacher) *job.mutable_soft_targets() = state_.teacher->soft_targets();
  const auto result = farm.ask(request);
  if (result) return record("model", {{"index", index}, {"result", to_json(result->compressed_model())}});
  if (result.error().exit_code == ExitCode::interrupted) return std::unexpected(result.error());
  farm.say(std::format("Step {} ({}) failed: {}", index, step.step, result.error().message));
  return record("decided", {{"index", index}, {"kept", false}, {"reason", "it failed: " + result.error().message}});
}

std::expected<protocol::Evaluation, Error> CompressionRun::evaluate(std::size_t index,
                                                                    const protocol::ArtifactRef& images,
                                                                    const char* what, const Farm& farm) {
  const std::string& device = state_.config.device;
  JobRequest request{.job = {},
                     .target = device,
                     .priority = 85,
                     .depends_on = state_.data->data_hash() + device_state(*state_.device, deploy(index).runtime()),
                     .description = std::format("{} {} on {}", what, state_.steps[index].step, device)};
  protocol::Evaluate& job = *request.job.mutable_evaluate();
  *job.mutable_model() = state_.steps[index].model->file().artifact();
  *job.mutable_test_set() = images;
  *job.mutable_deploy() = deploy(index);
  job.set_device(device);
  const auto result = farm.ask(request);
  if (!result) return std::unexpected(result.error());
  return result->evaluation();
}

CompressionRun::Step CompressionRun::validate(std::size_t index, const Farm& farm) {
  if (state_.steps[index].validation) return {};
  const auto evaluation = evaluate(index, state_.steps[0].model->validation_set(), "Validating", farm);
  if (!evaluation) return std::unexpected(evaluation.error());
  return record("validated", {{"index", index}, {"result", to_json(*evaluation)}});
}

CompressionRun::Step CompressionRun::test(std::size_t index, const Farm& farm) {
  if (state_.steps[index].test) return {};
  const auto evaluation = evaluate(index, state_.data->test_set(), "Testing", farm);
  if (!evaluation) return std::unexpected(evaluation.error());
  return record("tested", {{"index", index}, {"result", to_json(*evaluation)}});
}

CompressionRun::Step CompressionRun::measure(std::size_t index, const Home& home, const Farm& farm) {
  const StepState& step = state_.steps[index];
  if (step.measurement) return {};
  const std::string& device = state_.config.device;
  protocol::Measurement measurement;
  for (int attempt = 1; attempt <= kMostAttempts; ++attempt) {
    JobRequest request{.job = {},
                       .target = device,
                       .priority = 90,
                       .depends_on = state_of_attempt(*state_.device, deploy(index).runtime(), attempt),
                       .description = std::format("Measuring {} on {} ({})", step.step, device, state_.config.tier)};
    protocol::Measure& job = *request.job.mutable_measure();
    *job.mutable_model() = step.model->file().artifact();
    if (index > 0) *job.mutable_rival() = state_.steps[step.base].model->file().artifact();
    *job.mutable_deploy() = deploy(index);
    job.set_tier(state_.config.tier);
    job.set_device(device);
    const auto result = farm.ask(request);
    if (!result) return std::unexpected(result.error());
    measurement = result->measurement();
    if (measurement.verdict() != "INVALID") break;
  }
  if (measurement.has_raw()) {
    const auto to = folder_.raw() / (step_file_name(state_, index) + ".f64");
    if (auto kept = copy_artifact(home.artifacts(), measurement.raw().sha256(), to); !kept) return kept;
  }
  return record("measured", {{"index", index}, {"result", to_json(measurement)}});
}

CompressionRun::Step CompressionRun::decide(std::size_t index, const Home& home, const Farm& farm) {
  const StepState& step = state_.steps[index];
  const Judgement judgement =
      judge(state_.config, state_.config.steps[index - 1], state_.steps[0], state_.steps[step.base], step);
  if (auto kept = keep_file(index, home); !kept) return kept;
  farm.say(
      std::format("Step {} ({}) is {}: {}", index, step.step, judgement.kept ? "kept" : "undone", judgement.reason));
  if (auto decided = record("decided", {{"index", index}, {"kept", judgement.kept}, {"reason", judgement.reason}});
      !decided)
    return decided;
  return write_compression_report(state_, folder_.path());
}

CompressionRun::Step CompressionRun::keep_file(std::size_t index, const Home& home) {
  return copy_artifact(home.artifacts(), state_.steps[index].model->file().artifact().sha256(),
                       folder_.models() / step_file_name(state_, index));
}

protocol::DataSpec CompressionRun::data_spec() const {
  protocol::DataSpec spec;
  spec.set_format(state_.config.data.format);
  spec.set_path(state_.config.data.path);
  spec.set_validation_samples(state_.config.data.validation_samples);
  spec.set_seed(1);  // as a campaign's: a model of one is not validated on what it was trained on
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

protocol::Deploy CompressionRun::deploy(std::size_t index) const {
  protocol::Deploy deploy;
  deploy.set_runtime("onnxruntime");
  deploy.set_provider(state_.config.provider);
  deploy.set_precision(state_.steps[index].model->file().precision());
  deploy.set_threads(static_cast<int>(state_.config.device_threads));
  deploy.set_batch(1);
  return deploy;
}

}  // namespace finch::controller
