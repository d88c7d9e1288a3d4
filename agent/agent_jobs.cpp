#include "agent/agent_jobs.hpp"

#include <malloc.h>

#include <chrono>
#include <cmath>
#include <expected>
#include <filesystem>
#include <format>
#include <fstream>
#include <utility>

#include "agent/device_facts.hpp"
#include "agent/device_state.hpp"
#include "agent/measure.hpp"
#include "agent/measure_tier.hpp"
#include "agent/reference_network.hpp"
#include "protocol/artifact_store.hpp"

namespace finch::agent {
namespace {

namespace fs = std::filesystem;

protocol::JobResult failed(const Error& error) {
  protocol::JobResult result;
  result.mutable_failure()->set_message(error.message);
  result.mutable_failure()->set_retryable(error.retryable);
  return result;
}

// The local file of an artifact, checked: what is measured is what was asked for.
std::expected<std::filesystem::path, Error> artifact_file(const protocol::ArtifactRef& artifact,
                                                          const protocol::JobContext& context, const char* what) {
  const auto file = context.artifacts().find(artifact.sha256());
  if (file == context.artifacts().end()) {
    return std::unexpected(Error{std::format("the job names no {} that is here", what)});
  }
  const auto hash = protocol::sha256_of_file(file->second);
  if (!hash) return std::unexpected(Error{hash.error().message, true});
  if (*hash != artifact.sha256()) {
    return std::unexpected(
        Error{std::format("the {} {} is damaged: its SHA-256 is not its name; delete it", what, file->second.string()),
              true});
  }
  return file->second;
}

std::expected<protocol::ArtifactRef, Error> write_artifact(std::string_view bytes, protocol::JobContext& context,
                                                           const char* what) {
  protocol::ArtifactRef artifact;
  artifact.set_sha256(protocol::sha256_hex(bytes));
  artifact.set_size_bytes(static_cast<std::int64_t>(bytes.size()));
  std::ofstream file(context.output_folder() / artifact.sha256(), std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  if (file) return artifact;
  return std::unexpected(
      Error{std::format("cannot write the {} to {}: is the disk full?", what, context.output_folder().string()), true});
}

// The device is not what the job was asked of: a result would be taken for one of its earlier state.
protocol::JobResult refused(protocol::DeviceDescription now) {
  auto result =
      failed({std::format("device {} changed since this was asked of it: its system, its settings or its "
                          "runtime; ask anew",
                          now.name())});
  *result.mutable_device() = std::move(now);
  return result;
}

std::expected<MeasureTier, Error> tier_of(const auto& job) {
  auto tier = find_tier(job.tier());
  if (!tier) {
    return std::unexpected(
        Error{std::format("there is no tier '{}'; use quick, screen, certify or stability", job.tier())});
  }
  return with_parameters(std::move(*tier), job.parameters());
}

}  // namespace

AgentJobs::AgentJobs(AgentSettings settings)
    : settings_(std::move(settings)),
      baselines_(settings_.state_folder.empty() ? fs::path() : settings_.state_folder / "baselines") {
  settings_.libraries = with_found_libraries(std::move(settings_.libraries));
  device_ = read_device(settings_.files);
  device_.set_name(settings_.name);
  device_.set_profile(settings_.profile);
  add_runtimes(device_, settings_.files, settings_.launcher, settings_.libraries, settings_.power);
}

protocol::DeviceDescription AgentJobs::device() const {
  protocol::DeviceDescription now = device_;
  read_settings(now, settings_.files);
  set_state_hashes(now);
  for (protocol::RuntimeDescription& runtime : *now.mutable_runtimes()) {
    if (const auto baseline = baselines_.of(runtime.state_hash())) runtime.set_baseline_ms(baseline->reference_ms());
  }
  return now;
}

protocol::Hello AgentJobs::hello() {
  protocol::Hello hello;
  hello.set_role(protocol::AGENT);
  hello.set_host(host_id(settings_.files));
  hello.set_software_version(FINCH_VERSION);
  *hello.mutable_device() = device();
  return hello;
}

protocol::JobResult AgentJobs::run(const protocol::Job& job, protocol::JobContext& context) {
  // What a job used is given back at its end: an idle agent is to be small.
  struct Trim {
    ~Trim() { malloc_trim(0); }
  } const trim;
  switch (job.spec_case()) {
    case protocol::Job::kMeasure:
      return run_measure(job.measure(), context);
    case protocol::Job::kCalibrate:
      return run_calibrate(job.calibrate(), context);
    case protocol::Job::kEvaluate:
      return run_evaluate(job.evaluate(), context);
    case protocol::Job::kComputeLogits:
      return run_compute_logits(job.compute_logits(), context);
    default:
      return failed({"an agent only measures and evaluates; this job is for a trainer"});
  }
}

MeasureSettings AgentJobs::settings_for(protocol::JobContext& context) const {
  return {.launcher = settings_.launcher,
          .files = settings_.files,
          .libraries = settings_.libraries,
          .power = settings_.power,
          .on_progress = [&context](double share, const std::string& what) { context.progress(share, what); }};
}

EvaluateSettings AgentJobs::evaluating(const protocol::DeviceDescription& now, const protocol::Deploy& deploy,
                                       protocol::JobContext& context) const {
  return {.launcher = settings_.launcher,
          .libraries = settings_.libraries,
          .engines = engines_on(now, deploy, settings_.state_folder),
          .on_progress = [&context](double share, const std::string& what) { context.progress(share, what); }};
}

protocol::JobResult AgentJobs::run_measure(const protocol::Measure& job, protocol::JobContext& context) {
  const auto tier = tier_of(job);
  if (!tier) return failed(tier.error());
  const protocol::DeviceDescription now = device();
  const std::string state_hash = state_hash_with(now, job.deploy().runtime());
  if (!job.state_hash().empty() && job.state_hash() != state_hash) return refused(now);
  const auto model = artifact_file(job.model(), context, "model");
  if (!model) return failed(model.error());
  MeasureSettings settings = settings_for(context);
  settings.engines = engines_on(now, job.deploy(), settings_.state_folder);
  settings.rate_hz = job.rate_hz();
  settings.shapes.assign(job.shapes().begin(), job.shapes().end());
  if (job.has_rival()) {
    const auto rival = artifact_file(job.rival(), context, "rival");
    if (!rival) return failed(rival.error());
    settings.rival = *rival;
  }
  if (const auto baseline = baselines_.of(state_hash)) {
    settings.baseline_ms = baseline->reference_ms();
    if (baseline->has_celsius()) settings.start_celsius = baseline->celsius();
  }
  auto outcome = measure(*model, job.deploy(), *tier, settings, context.stop_token());
  if (!outcome) return failed(outcome.error());

  protocol::JobResult result;
  protocol::Measurement& measurement = *result.mutable_measurement();
  measurement = std::move(outcome->measurement);
  measurement.set_device(device_.name());
  measurement.set_profile(device_.profile());
  measurement.set_device_state_hash(state_hash);
  measurement.set_artifact_sha256(job.model().sha256());
  if (outcome->latencies_ms.empty()) return result;  // the model does not run: a verdict without figures

  auto raw = write_artifact(encode_latencies(outcome->latencies_ms), context, "raw latencies");
  if (!raw) return failed(raw.error());
  *measurement.mutable_raw() = std::move(*raw);
  return result;
}

protocol::JobResult AgentJobs::run_calibrate(const protocol::Calibrate& job, protocol::JobContext& context) {
  const auto tier = tier_of(job);
  if (!tier) return failed(tier.error());
  const InferenceRuntime* runtime = find_runtime(job.runtime());
  if (runtime == nullptr)
    return failed({std::format("there is no runtime '{}'; use one of {}", job.runtime(), runtime_names())});
  const auto network = reference_network(runtime->format);
  const auto model =
      write_artifact({reinterpret_cast<const char*>(network.data()), network.size()}, context, "reference network");
  if (!model) return failed(model.error());
  protocol::Deploy deploy;
  deploy.set_runtime(job.runtime());
  deploy.set_provider("cpu");
  deploy.set_threads(1);
  deploy.set_batch(1);
  const std::string state_hash = state_hash_with(device(), job.runtime());
  const auto celsius = hottest_celsius(read_device_state(settings_.files));
  const auto outcome =
      measure(context.output_folder() / model->sha256(), deploy, *tier, settings_for(context), context.stop_token());
  if (!outcome) return failed(outcome.error());
  const protocol::Measurement& measured = outcome->measurement;
  protocol::JobResult result;
  protocol::Calibration& calibration = *result.mutable_calibration();
  calibration.set_state_hash(state_hash);
  calibration.set_reference_ms(measured.latency_median_ms());
  calibration.set_ci_low_ms(measured.latency_ci_low_ms());
  calibration.set_ci_high_ms(measured.latency_ci_high_ms());
  calibration.set_verdict(measured.verdict());
  if (celsius) calibration.set_celsius(*celsius);
  *calibration.mutable_reasons() = measured.reasons();
  calibration.set_taken(
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count());
  if (const auto before = baselines_.of(state_hash)) {
    calibration.set_before_ms(before->reference_ms());
    calibration.set_before_taken(before->taken());
    // Without figures there is nothing to compare.
    const double drift = measured.latency_median_ms() / before->reference_ms() - 1;
    calibration.set_drifted(measured.latency_median_ms() > 0 && std::abs(drift) > tier->limits.reference_drift);
  }
  // What was disturbed is no baseline.
  if (measured.verdict() != "VALID") return result;
  if (auto kept = baselines_.keep(calibration); !kept) return failed(kept.error());
  *result.mutable_device() = device();
  return result;
}

protocol::JobResult AgentJobs::run_evaluate(const protocol::Evaluate& job, protocol::JobContext& context) {
  const protocol::DeviceDescription now = device();
  if (!job.state_hash().empty() && job.state_hash() != state_hash_with(now, job.deploy().runtime()))
    return refused(now);
  const auto model = artifact_file(job.model(), context, "model");
  if (!model) return failed(model.error());
  const auto test_set = artifact_file(job.test_set(), context, "test set");
  if (!test_set) return failed(test_set.error());
  auto evaluation = evaluate(*model, *test_set, job, evaluating(now, job.deploy(), context), context.stop_token());
  if (!evaluation) return failed(evaluation.error());
  protocol::JobResult result;
  *result.mutable_evaluation() = std::move(*evaluation);
  return result;
}

protocol::JobResult AgentJobs::run_compute_logits(const protocol::ComputeLogits& job, protocol::JobContext& context) {
  const auto model = artifact_file(job.model(), context, "model");
  if (!model) return failed(model.error());
  const auto images = artifact_file(job.images(), context, "images");
  if (!images) return failed(images.error());
  const auto logits = compute_logits(*model, *images, job.mirrored(), job.deploy(),
                                     evaluating(device(), job.deploy(), context), context.stop_token());
  if (!logits) return failed(logits.error());
  const std::string_view bytes(reinterpret_cast<const char*>(logits->values.data()),
                               logits->values.size() * sizeof(float));
  auto artifact = write_artifact(bytes, context, "logits");
  if (!artifact) return failed(artifact.error());
  protocol::JobResult result;
  *result.mutable_computed_logits()->mutable_logits() = std::move(*artifact);
  result.mutable_computed_logits()->set_classes(logits->classes);
  result.mutable_computed_logits()->set_seconds(logits->seconds);
  return result;
}

}  // namespace finch::agent
