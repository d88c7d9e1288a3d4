#include <algorithm>
#include <format>
#include <iterator>

#include "controller/campaign/accuracy_info.hpp"
#include "controller/campaign/artifact_copy.hpp"
#include "controller/campaign/campaign_run.hpp"
#include "controller/campaign/deployed_kind.hpp"
#include "controller/campaign/measuring.hpp"
#include "controller/campaign/quantizing.hpp"

namespace finch::controller {
namespace {

// Slower than its random-weight screen by more than this: worth a note (denormals, another code path).
constexpr double kScreenTolerance = 0.10;
constexpr int kShownImages = 3;            // whose logits a bundle shows
constexpr double kWorthwhileLoss = 0.010;  // of top-1, that int8 may cost

}  // namespace

std::string CampaignRun::file_name(search::CandidateId id, const std::string& precision) const {
  return std::format("c{:03}-{}", id, precision);
}

std::string CampaignRun::model_name(search::CandidateId id, const protocol::ExportedFile& file) const {
  return file_name(id, file.precision()) + "." + format_of(file);
}

bool CampaignRun::has_one_board() const {
  return state_.config.devices.size() == 1 && !state_.config.devices.front().is_pool();
}

std::vector<std::string> CampaignRun::further_boards(const FinalistFile& file, const DeviceConfig& device) const {
  std::vector<std::string> boards = state_.boards_of(device);
  std::erase_if(boards, [&](const std::string& board) { return file.is_measured_on(device.name, board); });
  return boards;
}

std::string CampaignRun::raw_name(search::CandidateId id, const std::string& kind, const std::string& board) const {
  const auto [precision, runtime] = deployed_kind(kind, state_.config.deploy);
  return file_name(id, precision) + (has_one_board() ? "" : "-" + board) +
         (runtime == state_.config.deploy.runtime ? "" : "-" + runtime) + ".f64";
}

CampaignRun::Step CampaignRun::finalist_stage(const Home& home) {
  bool complete = true;
  for (FinalistState& finalist : *state_.finalists) {
    if (auto advanced = advance_finalist(finalist, home); !advanced) return advanced;
    complete = complete && state_.complete(finalist);
  }
  for (std::size_t i = 0; i < state_.baselines.size(); ++i) {
    if (auto advanced = advance_baseline(i, home); !advanced) return advanced;
    complete = complete && state_.complete(state_.baselines[i]);
  }
  return complete ? conclude() : Step{};
}

CampaignRun::Step CampaignRun::advance_finalist(FinalistState& finalist, const Home& home) {
  const auto& devices = state_.config.devices;
  if (state_.complete(finalist)) return {};
  const CandidateState& candidate = state_.candidates.at(finalist.id);
  if (finalist.trained) {
    if (state_.compresses() && !finalist.compressed) return compress_finalist(finalist);
    const auto& deployed = state_.config.deploy.precision;
    if (finalist.compressed &&
        !std::ranges::contains(finalist.trained->files(), deployed, &protocol::ExportedFile::precision))
      return fail(finalist, finalist.step_notes().back());
    if (!finalist.seeds.empty() || state_.compresses()) {
      if (auto kept = keep_models(finalist, *finalist.trained, home); !kept) return kept;
    }
    for (const std::string& kind : finalist_kinds(state_.config, finalist.trained->files())) {
      const FinalistFile& known = finalist.files[kind];
      for (const DeviceConfig& device : devices) {
        if (!finalist.failure.empty()) return {};  // one file's failure is the finalist's
        if (state_.is_measured(known, device)) continue;
        if (auto measured = measure_kind(finalist, kind, device, home); !measured) return measured;
      }
      for (const DeviceConfig& device : devices) {
        if (!finalist.failure.empty()) return {};
        if (known.evaluations.contains(device.name)) continue;
        if (auto evaluated = evaluate_kind(finalist, kind, device); !evaluated) return evaluated;
      }
    }
    for (std::size_t seed = 0; seed < finalist.seeds.size() && finalist.failure.empty(); ++seed) {
      if (seed == finalist.deployed_seed || finalist.seeds[seed].evaluation) continue;
      if (auto evaluated = evaluate_seed(finalist, seed); !evaluated) return evaluated;
    }
    return {};
  }
  const std::size_t seed = finalist.seeds.size();
  const bool several = state_.config.finalists.seeds > 1;
  const auto done = board_->result_of(training_of(finalist, candidate, seed));
  if (!done) return std::unexpected(done.error());
  if (!*done) return {};
  const protocol::JobResult& result = (*done)->result;
  if (result.has_failure()) return fail(finalist, result.failure().message());
  const auto& files = result.trained_candidate().files();
  for (const std::string precision : kFinalistPrecisions) {
    if (user_trains() && precision != "fp32" && precision != state_.config.deploy.precision) continue;
    if (state_.compresses() && precision != "fp32") continue;  // a step of its own
    for (const std::string& runtime : campaign_runtimes(state_.config)) {
      if (file_of(files, {precision, runtime}) == nullptr)
        return fail(finalist, std::format("the trainer exported no {} file for {}", precision, runtime));
    }
  }
  if (!several && !state_.compresses()) {
    if (auto kept = keep_models(finalist, result.trained_candidate(), home); !kept) return kept;
  }
  say(std::format("finalist {}{}: {:.2f} % validation after fine-tuning{}", finalist.id,
                  several ? std::format(", training {} of {}", seed + 1, state_.config.finalists.seeds) : "",
                  100 * result.trained_candidate().validation_top1(), (*done)->reused ? " (reused)" : ""));
  return record(several ? "finalist_seed" : "finalist_trained",
                {{"id", finalist.id},
                 {"result", to_json(result.trained_candidate())},
                 {"reused", (*done)->reused},
                 {"paused_seconds", (*done)->reused ? 0 : result.paused_seconds()}});
}

JobRequest CampaignRun::training_of(const FinalistState& finalist, const CandidateState& candidate,
                                    std::size_t seed) const {
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
  job.mutable_recipe()->set_seed(state_.config.seed + seed);
  add_teacher(job);
  *job.mutable_parent_checkpoint() = candidate.trained->checkpoint();
  for (const std::string precision : kFinalistPrecisions) {
    if (precision == "fp32" || !state_.compresses()) job.add_precisions(precision);
  }
  for (const std::string& format : campaign_formats(state_.config)) job.add_formats(format);
  if (user_trains()) *job.mutable_user_trainer() = user_trainer();
  *job.mutable_quantize() = quantize_spec(state_.config.quantize);
  job.mutable_metadata()->set_campaign(state_.config.name);
  *job.mutable_metadata()->mutable_class_names() = state_.data->class_names();
  return request;
}

CampaignRun::Step CampaignRun::keep_models(const FinalistState& finalist, const protocol::TrainedCandidate& trained,
                                           const Home& home) const {
  for (const protocol::ExportedFile& file : trained.files()) {
    const auto to = folder_.models() / model_name(finalist.id, file);
    if (auto kept = keep_artifact(home, file.artifact().sha256(), to); !kept) return kept;
  }
  return {};
}

CampaignRun::Step CampaignRun::fail(const FinalistState& finalist, const std::string& why) {
  say(std::format("finalist {} failed: {}", finalist.id, why));
  return record("finalist_failed", {{"id", finalist.id}, {"why", why}});
}

CampaignRun::Step CampaignRun::measure_kind(FinalistState& finalist, const std::string& kind,
                                            const DeviceConfig& device, const Home& home) {
  const auto* file = file_of(finalist.trained->files(), deployed_kind(kind, state_.config.deploy));
  const auto measured = measure(file->artifact(), kind, device, state_.config.measure.finalist_tier,
                                std::format("finalist {}", finalist.id), further_boards(finalist.files[kind], device));
  if (!measured) return std::unexpected(measured.error());
  if (!*measured) return {};
  const protocol::JobResult& result = (*measured)->result;
  if (result.has_failure()) return fail(finalist, result.failure().message());
  const protocol::Measurement& measurement = result.measurement();
  if (measurement.has_raw()) {
    const auto to = folder_.raw() / raw_name(finalist.id, kind, measurement.device());
    if (auto kept = keep_artifact(home, measurement.raw().sha256(), to); !kept) return kept;
  }
  say(std::format("finalist {} {}{}: {:.4f} ms [{:.4f}, {:.4f}], {}{}", finalist.id, kind,
                  has_one_board() ? "" : " on " + measurement.device(), measurement.latency_median_ms(),
                  measurement.latency_ci_low_ms(), measurement.latency_ci_high_ms(), measurement.verdict(),
                  (*measured)->reused ? " (reused)" : ""));
  return record("finalist_measured", {{"id", finalist.id},
                                      {"precision", kind},
                                      {"device", device.name},
                                      {"result", to_json(measurement)},
                                      {"reused", (*measured)->reused}});
}

std::expected<std::optional<JobOutcome>, Error> CampaignRun::test(const protocol::ArtifactRef& model,
                                                                  const std::string& kind, const std::string& what,
                                                                  const DeviceConfig& device) {
  const auto request_on = [&](const protocol::DeviceDescription& board) {
    const std::string state = device_state(board, deployed_kind(kind, state_.config.deploy).runtime);
    JobRequest request{.job = {},
                       .target = board.name(),
                       .priority = 30,
                       .depends_on = state_.data->data_hash() + state,
                       .description = std::format("testing {} ({})", what, kind)};
    protocol::Evaluate& job = *request.job.mutable_evaluate();
    *job.mutable_model() = model;
    *job.mutable_test_set() = state_.data->test_set();
    *job.mutable_deploy() = deploy(kind, device);
    job.set_device(board.name());
    job.set_logits_of_first(kShownImages);
    job.set_state_hash(state);
    return request;
  };
  return ask_device(device, request_on, state_.boards_of(device));
}

// On every device: the file is the same, the runtime's kernels for its processor are not.
CampaignRun::Step CampaignRun::evaluate_kind(FinalistState& finalist, const std::string& kind,
                                             const DeviceConfig& device) {
  const auto* file = file_of(finalist.trained->files(), deployed_kind(kind, state_.config.deploy));
  const auto done = test(file->artifact(), kind, std::format("finalist {}", finalist.id), device);
  if (!done) return std::unexpected(done.error());
  if (!*done) return {};
  const protocol::JobResult& result = (*done)->result;
  if (result.has_failure()) return fail(finalist, result.failure().message());
  const protocol::Evaluation& evaluation = result.evaluation();
  if (state_.wants_confusion() && evaluation.predictions_size() != state_.data->test_labels_size())
    return fail(finalist,
                "the agent did not say which class each test image was taken for; it is older than this finch");
  const AccuracyInfo info = accuracy_info(evaluation, {});
  say(std::format("finalist {} {}{}: {:.2f} % [{:.2f}, {:.2f}] of {} test images{}", finalist.id, kind,
                  state_.config.devices.size() > 1 ? " on " + device.name : "", 100 * info.top1, 100 * info.ci_low,
                  100 * info.ci_high, info.samples, (*done)->reused ? " (reused)" : ""));
  if (const std::string doubt = doubt_about(finalist, kind, evaluation); !doubt.empty())
    return fail(finalist, std::format("{} on {} gives {}", kind, device.name, doubt));
  return record("finalist_evaluated", {{"id", finalist.id},
                                       {"precision", kind},
                                       {"device", device.name},
                                       {"result", to_json(evaluation)},
                                       {"reused", (*done)->reused}});
}

// Against what the trainer says of the file; where it cannot, against the same file where it ran first.
std::string CampaignRun::doubt_about(const FinalistState& finalist, const std::string& kind,
                                     const protocol::Evaluation& evaluation) const {
  const ExportedFiles& files = finalist.trained->files();
  const auto* file = file_of(files, deployed_kind(kind, state_.config.deploy));
  std::optional<double> expected;
  if (file->has_test_top1()) expected = file->test_top1();
  for (const std::string& other : finalist_kinds(state_.config, files)) {
    if (expected || file_of(files, deployed_kind(other, state_.config.deploy)) != file) continue;
    const auto known = finalist.files.find(other);
    if (known != finalist.files.end() && known->second.evaluation) expected = known->second.evaluation->top1();
  }
  if (!expected) return {};
  return accuracy_difference(evaluation.top1(), *expected, evaluation.samples(),
                             state_.config.finalists.accuracy_tolerance);
}

// A training that is not deployed says how much the accuracy hangs on chance: it is tested, not measured.
CampaignRun::Step CampaignRun::evaluate_seed(FinalistState& finalist, std::size_t seed) {
  const auto& files = finalist.seeds[seed].trained->files();
  const DeployConfig& deploy = state_.config.deploy;
  const auto* file = file_of(files, {deploy.precision, deploy.runtime});
  const auto done =
      test(file->artifact(), deploy.precision, std::format("finalist {}", finalist.id), state_.config.devices.front());
  if (!done) return std::unexpected(done.error());
  if (!*done) return {};
  const protocol::JobResult& result = (*done)->result;
  if (result.has_failure()) return fail(finalist, result.failure().message());
  return record(
      "finalist_seed_evaluated",
      {{"id", finalist.id}, {"seed", seed}, {"result", to_json(result.evaluation())}, {"reused", (*done)->reused}});
}

CampaignRun::Step CampaignRun::keep_artifact(const Home& home, const std::string& sha256,
                                             const std::filesystem::path& to) const {
  return copy_artifact(home.artifacts(), sha256, to);
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
  const search::Cost cost = state_.cost_of(finalist);
  model.parameters = cost.parameters;
  model.macs = cost.macs;
  model.peak_activation_bytes = cost.peak_activation_bytes;
  model.notes = finalist.step_notes();
  model.weights_sha256 = finalist.trained->safetensors().sha256();
  model.validation_top1 = finalist.trained->validation_top1();
  const Interval validation = validation_interval(*finalist.trained);
  model.validation_ci_low = validation.low;
  model.validation_ci_high = validation.high;
  for (std::size_t i = 0; i < finalist.seeds.size(); ++i) {
    const FinalistSeed& seed = finalist.seeds[i];
    model.seeds.push_back({.seed = state_.config.seed + i,
                           .validation_top1 = seed.trained->validation_top1(),
                           .test_top1 = seed.evaluation->top1(),
                           .deployed = i == finalist.deployed_seed});
  }
  const std::vector<std::int32_t> labels(state_.data->test_labels().begin(), state_.data->test_labels().end());
  model.screen_latency_ms = worst_latency_ms(candidate.screens);
  const std::vector<std::string> kinds = finalist_kinds(state_.config, finalist.trained->files());
  for (const protocol::ExportedFile& exported : finalist.trained->files()) {
    ModelFile file;
    file.path = "models/" + model_name(finalist.id, exported);
    file.precision = exported.precision();
    file.sha256 = exported.artifact().sha256();
    file.size_bytes = exported.artifact().size_bytes();
    for (const std::string& kind : kinds) {
      if (file_of(finalist.trained->files(), deployed_kind(kind, state_.config.deploy)) != &exported) continue;
      const FinalistFile& known = finalist.files.at(kind);
      if (!file.accuracy) {
        file.accuracy = accuracy_info(*known.evaluation, labels);
        file.accuracy->reused = known.evaluation_reused;
        file.first_logits.assign(known.evaluation->logits().begin(), known.evaluation->logits().end());
      }
      for (const DeviceConfig& device : state_.config.devices) {
        for (const FinalistFile::Measured& measured : known.measurements.at(device.name)) {
          MeasurementInfo info = measurement_info(measured.measurement);
          if (info.raw) info.raw = "raw/" + raw_name(finalist.id, kind, info.device);
          info.reused = measured.reused;
          info.pooled = pooled_info(measured.measurement, device);
          file.measurements.push_back(std::move(info));
        }
        if (std::string note = disagreement(known, device); !note.empty())
          model.notes.push_back(kind + ": " + std::move(note));
      }
    }
    model.files.push_back(std::move(file));
  }
  const FinalistFile& deployed = finalist.files.at(state_.config.deploy.precision);
  const auto latency = [this](const FinalistFile& file, const DeviceConfig& device) {
    return state_.compared(file, device.name).latency_median_ms();
  };
  for (const DeviceConfig& device : state_.config.devices) {
    const std::string where = state_.config.devices.size() > 1 ? "on " + device.name : "here";
    if (!state_.config.finalists.runtimes.empty()) {
      const auto fastest = std::ranges::min(
          kinds, {}, [&](const std::string& kind) { return latency(finalist.files.at(kind), device); });
      const DeployedKind best = deployed_kind(fastest, state_.config.deploy);
      model.notes.push_back(std::format("fastest {}: {} with {}, {:.4f} ms", where, best.runtime, best.precision,
                                        latency(finalist.files.at(fastest), device)));
    }
    const double screened = candidate.screens.at(device.name).latency_median_ms();
    const auto then = finalist.files.find(kind_name(
        {state_.config.deploy.precision, candidate.screens.at(device.name).deploy().runtime()}, state_.config.deploy));
    const double against_screen =
        latency(then == finalist.files.end() ? deployed : then->second, device) / screened - 1;
    if (against_screen > kScreenTolerance && !is_estimate(candidate.screens.at(device.name))) {
      model.notes.push_back(
          std::format("trained, it is {:.0f} % slower than with the random weights it was screened with ({})",
                      100 * against_screen, where));
    }
  }
  const auto int8 = finalist.files.find("int8");
  if (int8 == finalist.files.end()) return model;
  const FinalistFile& fp32 = finalist.files.at("fp32");
  for (const DeviceConfig& device : state_.config.devices) {
    const double speed = latency(int8->second, device) / latency(fp32, device);
    if (speed < 1) continue;
    model.notes.push_back(std::format("int8 does not pay {}: {:.2f} x the latency of fp32",
                                      state_.config.devices.size() > 1 ? "on " + device.name : "here", speed));
  }
  std::ranges::move(quantization_notes(finalist.trained->quantization(), *int8->second.evaluation),
                    std::back_inserter(model.notes));
  const double loss = fp32.evaluation->top1() - int8->second.evaluation->top1();
  if (loss > kWorthwhileLoss) model.notes.push_back(std::format("int8 loses {:.2f} points of accuracy", 100 * loss));
  return model;
}

}  // namespace finch::controller
