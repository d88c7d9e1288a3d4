#include <format>

#include "controller/campaign/accuracy_info.hpp"
#include "controller/campaign/campaign_run.hpp"
#include "controller/campaign/deployed_kind.hpp"
#include "controller/campaign/quantizing.hpp"
#include "controller/campaign/space_spec.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/model_format.hpp"
#include "search/hand_designed.hpp"

namespace finch::controller {
namespace {

constexpr const char* kOfAFile = "fp32";  // a label: what is in the user's file is the user's

struct HandDesigned {
  protocol::SpaceSpec space;
  search::Genotype genotype;
  search::Cost cost;
};

std::expected<HandDesigned, Error> network_of(CampaignConfig config, const protocol::DataFacts& data,
                                              const BaselineConfig& baseline) {
  config.space = search::space_of_hand_designed(baseline.network);
  config.space_file.reset();
  const auto space = search::make_search_space(space_config(config, data));
  if (!space) return std::unexpected(Error{space.error().message});
  auto genotype = search::hand_designed(baseline.network, baseline.width, **space);
  if (!genotype) return std::unexpected(Error{genotype.error().message});
  const auto network = (*space)->decode(*genotype);
  if (!network) return std::unexpected(Error{network.error().message});
  return HandDesigned{space_spec(config, data), std::move(*genotype), search::cost_of(*network)};
}

// A file of the user's may be one that the search's runtime does not read; then the usual one for it runs it.
DeployedKind deployment_of(const BaselineConfig& baseline, const DeployConfig& deploy) {
  const std::string precision = baseline.file ? kOfAFile : deploy.precision;
  if (!baseline.file) return {precision, deploy.runtime};
  const std::string_view format = baseline.file->ends_with(".tflite") ? "tflite" : "onnx";
  const bool read = protocol::format_read_by(deploy.runtime) == format;
  return {precision, read ? deploy.runtime : std::string(protocol::usual_runtime(format))};
}

std::string stem(std::size_t index) {
  return std::format("baseline{}", index + 1);
}

// In the run folder.
std::string path_of(std::size_t index, const BaselineConfig& baseline, const DeployConfig& deploy) {
  return std::format("models/{}.{}", stem(index), protocol::format_read_by(deployment_of(baseline, deploy).runtime));
}

}  // namespace

CampaignRun::Step CampaignRun::advance_baseline(std::size_t index, const Home& home) {
  const auto& devices = state_.config.devices;
  const BaselineState& known = state_.baselines[index];
  const BaselineConfig& baseline = state_.config.baselines[index];
  if (state_.complete(known)) return {};
  if (!known.artifact) return get_baseline(index, home);
  const std::string kind = kind_name(deployment_of(baseline, state_.config.deploy), state_.config.deploy);
  for (const DeviceConfig& device : devices) {
    if (state_.is_measured(known.file, device)) continue;
    const auto measured = measure(*known.artifact, kind, device, state_.config.measure.finalist_tier,
                                  "baseline " + baseline.name, further_boards(known.file, device));
    if (!measured) return std::unexpected(measured.error());
    if (!*measured) continue;
    const protocol::JobResult& result = (*measured)->result;
    if (result.has_failure()) return fail_baseline(index, result.failure().message());
    const protocol::Measurement& measurement = result.measurement();
    if (measurement.has_raw()) {
      const auto to = folder_.raw() / std::format("{}-{}.f64", stem(index), measurement.device());
      if (auto kept = keep_artifact(home, measurement.raw().sha256(), to); !kept) return kept;
    }
    say(std::format("baseline {}: {:.4f} ms [{:.4f}, {:.4f}], {}", baseline.name, measurement.latency_median_ms(),
                    measurement.latency_ci_low_ms(), measurement.latency_ci_high_ms(), measurement.verdict()));
    if (auto kept = record("baseline_measured", {{"index", index},
                                                 {"device", device.name},
                                                 {"result", to_json(measurement)},
                                                 {"reused", (*measured)->reused}});
        !kept)
      return kept;
  }
  if (known.file.evaluation || !known.no_accuracy.empty()) return {};
  const auto tested = test(*known.artifact, kind, "baseline " + baseline.name, devices.front());
  if (!tested) return std::unexpected(tested.error());
  if (!*tested) return {};
  const protocol::JobResult& result = (*tested)->result;
  if (result.has_failure()) {
    say(std::format("baseline {} has no accuracy: {}", baseline.name, result.failure().message()));
    return record("baseline_without_accuracy", {{"index", index}, {"why", result.failure().message()}});
  }
  say(std::format("baseline {}: {:.2f} % of {} test images", baseline.name, 100 * result.evaluation().top1(),
                  result.evaluation().samples()));
  return record("baseline_evaluated",
                {{"index", index}, {"result", to_json(result.evaluation())}, {"reused", (*tested)->reused}});
}

CampaignRun::Step CampaignRun::get_baseline(std::size_t index, const Home& home) {
  const BaselineConfig& baseline = state_.config.baselines[index];
  const auto keep = [&](const protocol::ArtifactRef& artifact) {
    return keep_artifact(home, artifact.sha256(), folder_.path() / path_of(index, baseline, state_.config.deploy));
  };
  if (baseline.file) {
    const auto added = protocol::ArtifactStore(home.artifacts()).add_file(*baseline.file);
    if (!added) return fail_baseline(index, added.error().message);
    protocol::ArtifactRef artifact;
    artifact.set_sha256(*added);
    artifact.set_size_bytes(static_cast<std::int64_t>(std::filesystem::file_size(*baseline.file)));
    if (auto kept = keep(artifact); !kept) return kept;
    return record("baseline_file", {{"index", index}, {"artifact", to_json(artifact)}});
  }
  const auto request = training_of(baseline);
  if (!request) return fail_baseline(index, request.error().message);
  const auto done = board_->result_of(*request);
  if (!done) return std::unexpected(done.error());
  if (!*done) return {};
  const protocol::JobResult& result = (*done)->result;
  if (result.has_failure()) return fail_baseline(index, result.failure().message());
  const protocol::TrainedCandidate& trained = result.trained_candidate();
  const auto* file = file_of(trained.files(), deployment_of(baseline, state_.config.deploy));
  if (file == nullptr)
    return fail_baseline(index, std::format("the trainer exported no {} file", state_.config.deploy.precision));
  if (auto kept = keep(file->artifact()); !kept) return kept;
  say(std::format("baseline {}: {:.2f} % validation", baseline.name, 100 * trained.validation_top1()));
  return record("baseline_file", {{"index", index},
                                  {"artifact", to_json(file->artifact())},
                                  {"reused", (*done)->reused},
                                  {"paused_seconds", (*done)->reused ? 0 : result.paused_seconds()}});
}

// As a finalist is trained, and as long in all.
std::expected<JobRequest, Error> CampaignRun::training_of(const BaselineConfig& baseline) const {
  auto network = network_of(state_.config, *state_.data, baseline);
  if (!network) return std::unexpected(network.error());
  JobRequest request{.job = {},
                     .target = "",
                     .priority = 15,  // after the finalists
                     .depends_on = state_.data->data_hash(),
                     .description = "training baseline " + baseline.name};
  protocol::TrainCandidate& job = *request.job.mutable_train_candidate();
  *job.mutable_space() = std::move(network->space);
  job.mutable_genotype()->Add(network->genotype.begin(), network->genotype.end());
  *job.mutable_data() = data_spec();
  *job.mutable_recipe() = recipe(state_.config.train.baseline_epochs());
  add_teacher(job);
  job.add_precisions(state_.config.deploy.precision);
  job.add_formats(std::string(protocol::format_read_by(state_.config.deploy.runtime)));
  *job.mutable_quantize() = quantize_spec(state_.config.quantize);
  job.mutable_metadata()->set_campaign(state_.config.name);
  *job.mutable_metadata()->mutable_class_names() = state_.data->class_names();
  return request;
}

CampaignRun::Step CampaignRun::fail_baseline(std::size_t index, const std::string& why) {
  say(std::format("baseline {} failed: {}", state_.config.baselines[index].name, why));
  return record("baseline_failed", {{"index", index}, {"why", why}});
}

BaselineInfo CampaignRun::baseline_info(std::size_t index) const {
  const BaselineConfig& baseline = state_.config.baselines[index];
  const BaselineState& known = state_.baselines[index];
  BaselineInfo info;
  info.name = baseline.name;
  info.what = baseline.file ? *baseline.file
                            : std::format("{}, width {}, trained here for {} epochs", baseline.network, baseline.width,
                                          state_.config.train.baseline_epochs());
  info.no_accuracy = known.no_accuracy;
  info.file.path = path_of(index, baseline, state_.config.deploy);
  info.file.precision = baseline.file ? kOfAFile : state_.config.deploy.precision;
  info.file.sha256 = known.artifact->sha256();
  info.file.size_bytes = known.artifact->size_bytes();
  if (known.file.evaluation) {
    info.file.accuracy =
        accuracy_info(*known.file.evaluation, {state_.data->test_labels().begin(), state_.data->test_labels().end()});
    info.file.accuracy->reused = known.file.evaluation_reused;
  }
  for (const DeviceConfig& device : state_.config.devices) {
    for (const FinalistFile::Measured& measured : known.file.measurements.at(device.name)) {
      MeasurementInfo measurement = measurement_info(measured.measurement);
      if (measurement.raw) measurement.raw = std::format("raw/{}-{}.f64", stem(index), measurement.device);
      measurement.reused = measured.reused;
      measurement.pooled = pooled_info(measured.measurement, device);
      info.file.measurements.push_back(std::move(measurement));
    }
  }
  if (baseline.file) return info;
  if (const auto network = network_of(state_.config, *state_.data, baseline)) {
    info.parameters = network->cost.parameters;
    info.macs = network->cost.macs;
  }
  return info;
}

}  // namespace finch::controller
