#include <algorithm>
#include <format>

#include "controller/campaign/campaign_run.hpp"
#include "protocol/artifact_store.hpp"

namespace finch::controller {
namespace {

// Slower than its random-weight screen by more than this: worth a note (denormals, another code path).
constexpr double kScreenTolerance = 0.10;
constexpr double kWorthwhileLoss = 0.010;  // of top-1, that int8 may cost

}  // namespace

std::string CampaignRun::file_name(search::CandidateId id, const std::string& precision) const {
  return std::format("c{:03}-{}", id, precision);
}

CampaignRun::Step CampaignRun::finalist_stage(const Home& home) {
  bool complete = true;
  for (FinalistState& finalist : *state_.finalists) {
    if (auto advanced = advance_finalist(finalist, home); !advanced) return advanced;
    complete = complete && finalist.complete();
  }
  return complete ? conclude() : Step{};
}

CampaignRun::Step CampaignRun::advance_finalist(FinalistState& finalist, const Home& home) {
  if (finalist.complete()) return {};
  const CandidateState& candidate = state_.candidates.at(finalist.id);
  if (finalist.trained) {
    for (const protocol::ExportedFile& file : finalist.trained->files()) {
      if (!finalist.failure.empty()) break;  // one file's failure is the finalist's
      if (auto deployed = deploy_file(finalist, file, home); !deployed) return deployed;
    }
    return {};
  }
  JobRequest request{.job = {},
                     .target = "",
                     .priority = 20,
                     .depends_on = state_.data->data_hash(),
                     .description = std::format("training finalist {}", finalist.id)};
  protocol::TrainCandidate& job = *request.job.mutable_train_candidate();
  *job.mutable_space() = space_spec();
  for (const int choice : candidate.genotype) job.add_genotype(choice);
  *job.mutable_data() = data_spec();
  *job.mutable_recipe() = recipe(state_.config.train.finalist_epochs);
  if (state_.teacher) *job.mutable_soft_targets() = state_.teacher->soft_targets();
  *job.mutable_parent_checkpoint() = candidate.trained->checkpoint();
  for (const char* precision : kFinalistPrecisions) job.add_precisions(precision);
  job.mutable_metadata()->set_campaign(state_.config.name);
  *job.mutable_metadata()->mutable_class_names() = state_.data->class_names();
  const auto done = board_->result_of(request);
  if (!done) return std::unexpected(done.error());
  if (!*done) return {};
  const protocol::JobResult& result = (*done)->result;
  if (result.has_failure()) {
    say(std::format("finalist {} failed: {}", finalist.id, result.failure().message()));
    return record("finalist_failed", {{"id", finalist.id}, {"why", result.failure().message()}});
  }
  for (const char* precision : kFinalistPrecisions) {
    const auto& files = result.trained_candidate().files();
    const auto file = std::ranges::find(files, precision, &protocol::ExportedFile::precision);
    if (file == files.end()) {
      const std::string why = std::format("the trainer exported no {} file", precision);
      return record("finalist_failed", {{"id", finalist.id}, {"why", why}});
    }
    const auto to = folder_.models() / (file_name(finalist.id, precision) + ".onnx");
    if (auto kept = keep_artifact(home, file->artifact().sha256(), to); !kept) return kept;
  }
  say(std::format("finalist {}: {:.2f} % validation after fine-tuning{}", finalist.id,
                  100 * result.trained_candidate().validation_top1(), (*done)->reused ? " (reused)" : ""));
  return record("finalist_trained", {{"id", finalist.id},
                                     {"result", to_json(result.trained_candidate())},
                                     {"reused", (*done)->reused},
                                     {"paused_seconds", (*done)->reused ? 0 : result.paused_seconds()}});
}

CampaignRun::Step CampaignRun::deploy_file(FinalistState& finalist, const protocol::ExportedFile& file,
                                           const Home& home) {
  const std::string& precision = file.precision();
  const std::string name = file_name(finalist.id, precision);
  FinalistFile& known = finalist.files[precision];
  const auto failed = [&](const std::string& why) {
    say(std::format("finalist {} failed: {}", finalist.id, why));
    return record("finalist_failed", {{"id", finalist.id}, {"why", why}});
  };
  if (!known.measurement) {
    const auto measured = measure(file.artifact(), precision, state_.config.measure.finalist_tier,
                                  std::format("finalist {}", finalist.id));
    if (!measured) return std::unexpected(measured.error());
    if (*measured) {
      const protocol::JobResult& result = (*measured)->result;
      if (result.has_failure()) return failed(result.failure().message());
      if (result.measurement().has_raw()) {
        if (auto kept = keep_artifact(home, result.measurement().raw().sha256(), folder_.raw() / (name + ".f64"));
            !kept)
          return kept;
      }
      say(std::format("finalist {} {}: {:.4f} ms [{:.4f}, {:.4f}], {}{}", finalist.id, precision,
                      result.measurement().latency_median_ms(), result.measurement().latency_ci_low_ms(),
                      result.measurement().latency_ci_high_ms(), result.measurement().verdict(),
                      (*measured)->reused ? " (reused)" : ""));
      if (auto recorded = record("finalist_measured", {{"id", finalist.id},
                                                       {"precision", precision},
                                                       {"result", to_json(result.measurement())},
                                                       {"reused", (*measured)->reused}});
          !recorded) {
        return recorded;
      }
    }
  }
  if (known.evaluation) return {};
  const std::string& device = state_.config.devices.front().name;
  JobRequest request{.job = {},
                     .target = device,
                     .priority = 30,
                     .depends_on = state_.data->data_hash() + state_.device->state_hash(),
                     .description = std::format("testing finalist {} ({})", finalist.id, precision)};
  protocol::Evaluate& job = *request.job.mutable_evaluate();
  *job.mutable_model() = file.artifact();
  *job.mutable_test_set() = state_.data->test_set();
  *job.mutable_deploy() = deploy(precision);
  job.set_device(device);
  const auto done = board_->result_of(request);
  if (!done) return std::unexpected(done.error());
  if (!*done) return {};
  const protocol::JobResult& result = (*done)->result;
  if (result.has_failure()) return failed(result.failure().message());
  say(std::format("finalist {} {}: {:.2f} % of {} test images{}", finalist.id, precision,
                  100 * result.evaluation().top1(), result.evaluation().samples(), (*done)->reused ? " (reused)" : ""));
  return record("finalist_evaluated", {{"id", finalist.id},
                                       {"precision", precision},
                                       {"result", to_json(result.evaluation())},
                                       {"reused", (*done)->reused}});
}

// Complete under its name or not there at all.
CampaignRun::Step CampaignRun::keep_artifact(const Home& home, const std::string& sha256,
                                             const std::filesystem::path& to) const {
  std::error_code error;
  const auto from = protocol::ArtifactStore(home.artifacts()).path_of(sha256);
  if (!std::filesystem::exists(from, error)) {
    return std::unexpected(
        Error{std::format("{}: the file behind a recorded result was removed; put it back, or run the "
                          "campaign anew with another seed",
                          from.string())});
  }
  std::filesystem::path temporary = to;
  temporary += ".tmp";
  std::filesystem::copy_file(from, temporary, std::filesystem::copy_options::overwrite_existing, error);
  if (!error) std::filesystem::rename(temporary, to, error);
  if (error) return std::unexpected(Error{std::format("{}: cannot write: {}", to.string(), error.message())});
  return {};
}

CampaignRun::Step CampaignRun::conclude() {
  const bool any =
      std::ranges::any_of(*state_.finalists, [](const FinalistState& finalist) { return finalist.failure.empty(); });
  if (!any) return std::unexpected(Error{"every finalist failed; the last: " + state_.finalists->back().failure});
  return record("finished", {{"status", *state_.search_closed == kAskedToFinish ? "finished early" : "finished"}});
}

FrontModel CampaignRun::front_model(const FinalistState& finalist, const CandidateState& candidate) const {
  FrontModel model;
  model.id = std::format("c{:03}", finalist.id);
  model.space = state_.config.space;
  model.genotype = candidate.genotype;
  model.parameters = candidate.cost.parameters;
  model.macs = candidate.cost.macs;
  model.peak_activation_bytes = candidate.cost.peak_activation_bytes;
  model.validation_top1 = finalist.trained->validation_top1();
  model.screen_latency_ms = candidate.screen->latency_median_ms();
  for (const protocol::ExportedFile& exported : finalist.trained->files()) {
    const std::string name = file_name(finalist.id, exported.precision());
    const FinalistFile& known = finalist.files.at(exported.precision());
    const protocol::Measurement& m = *known.measurement;
    ModelFile file;
    file.path = std::format("models/{}.onnx", name);
    file.precision = exported.precision();
    file.sha256 = exported.artifact().sha256();
    file.size_bytes = exported.artifact().size_bytes();
    file.accuracy = AccuracyInfo{.top1 = known.evaluation->top1(),
                                 .samples = known.evaluation->samples(),
                                 .split = "test",
                                 .reused = known.evaluation_reused};
    MeasurementInfo info;
    info.device = m.device();
    info.profile = m.profile();
    info.runtime = m.runtime().name() + " " + m.runtime().version();
    info.tier = m.tier();
    info.deploy = {m.deploy().runtime(), m.deploy().provider(), m.deploy().precision(), m.deploy().threads(),
                   m.deploy().batch()};
    info.verdict = m.verdict();
    info.reasons.assign(m.reasons().begin(), m.reasons().end());
    info.median_ms = m.latency_median_ms();
    info.ci_low_ms = m.latency_ci_low_ms();
    info.ci_high_ms = m.latency_ci_high_ms();
    info.p90_ms = m.latency_p90_ms();
    info.p99_ms = m.latency_p99_ms();
    info.runs = m.runs();
    info.load_peak_bytes = m.load_peak_bytes();
    info.run_peak_bytes = m.run_peak_bytes();
    if (m.has_energy_net_mj())
      info.energy = MeasurementInfo::Energy{m.energy_gross_mj(), m.energy_net_mj(), m.energy_provenance()};
    info.artifact_sha256 = m.artifact_sha256();
    if (m.has_raw()) info.raw = std::format("raw/{}.f64", name);
    info.reused = known.measurement_reused;
    file.measurements.push_back(std::move(info));
    model.files.push_back(std::move(file));
  }
  const auto& fp32 = finalist.files.at("fp32");
  const auto& int8 = finalist.files.at("int8");
  const double speed = int8.measurement->latency_median_ms() / fp32.measurement->latency_median_ms();
  const double loss = fp32.evaluation->top1() - int8.evaluation->top1();
  if (speed >= 1) model.notes.push_back(std::format("int8 does not pay here: {:.2f} x the latency of fp32", speed));
  if (loss > kWorthwhileLoss) model.notes.push_back(std::format("int8 loses {:.2f} points of accuracy", 100 * loss));
  const auto& deployed = finalist.files.at(state_.config.deploy.precision);
  const double against_screen = deployed.measurement->latency_median_ms() / model.screen_latency_ms - 1;
  if (against_screen > kScreenTolerance) {
    model.notes.push_back(std::format(
        "trained, it is {:.0f} % slower than with the random weights it was screened with", 100 * against_screen));
  }
  return model;
}

}  // namespace finch::controller
