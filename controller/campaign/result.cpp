#include <algorithm>
#include <format>

#include "controller/campaign/accuracy_info.hpp"
#include "controller/campaign/baseline_comparison.hpp"
#include "controller/campaign/campaign_run.hpp"
#include "controller/campaign/constraints.hpp"
#include "controller/campaign/measuring.hpp"

namespace finch::controller {
namespace {

std::vector<DeviceFact> device_facts(const protocol::DeviceDescription& device) {
  std::vector<DeviceFact> facts = {
      {"device", device.name()},
      {"profile", device.profile()},
      {"CPU", std::format("{}, {} cores ({})", device.cpu_model(), device.cores(), device.machine())},
      {"memory", std::format("{} MiB", device.memory_bytes() >> 20)},
      {"system", device.operating_system()},
      {"kernel", device.kernel()},
      {"governor", device.governor().empty() ? "not readable" : device.governor()}};
  for (const auto& runtime : device.runtimes()) facts.push_back({"runtime", runtime.name() + " " + runtime.version()});
  std::string measures;
  for (const std::string& quantity : device.measures()) measures += (measures.empty() ? "" : ", ") + quantity;
  facts.push_back({"measures", measures});
  facts.push_back({"state", device.state_hash().substr(0, 16)});
  return facts;
}

std::string shortfall_text(const ConstraintConfig& limits, const Accuracies& accuracies) {
  std::string text;
  for (const Metric metric : kMetrics) {
    const double value = accuracies[metric].value_or(0), least = limits.min(metric).value_or(0);
    if (value >= least) continue;
    text += std::format("{}{} of {:.2f} % on the test images, below constraints.min_{}", text.empty() ? "" : ", ",
                        name_of(metric), 100 * value, name_of(metric));
  }
  return text;
}

}  // namespace

Interval CampaignRun::validation_interval(const protocol::TrainedCandidate& trained) const {
  return validation_interval(trained.validation_top1(), trained.validation_samples());
}

Interval CampaignRun::validation_interval(double top1, std::int64_t samples) const {
  if (samples == 0) samples = state_.data ? state_.data->validation_samples() : 0;
  return samples > 0 ? wilson_interval(top1 * static_cast<double>(samples), samples) : Interval{};
}

MeasurementInfo measurement_info(const protocol::Measurement& m) {
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
  if (m.baseline_ms() > 0 && m.has_reference_ratio_ci_low()) {
    info.normalised = MeasurementInfo::Normalised{m.reference_ratio_median() * m.baseline_ms(),
                                                  m.reference_ratio_ci_low() * m.baseline_ms(),
                                                  m.reference_ratio_ci_high() * m.baseline_ms(), m.baseline_ms()};
  }
  if (m.has_at_rate()) {
    const protocol::AtRate& rate = m.at_rate();
    info.at_rate = AtRateInfo{rate.rate_hz(), rate.frames(), rate.missed_deadlines(), rate.latency_median_ms(),
                              rate.latency_p99_ms()};
  }
  for (const protocol::Condition& c : m.conditions()) {
    info.conditions.push_back(
        {c.name(), c.latency_median_ms(), c.latency_p99_ms(), c.slowdown(), {c.remarks().begin(), c.remarks().end()}});
  }
  info.epoch = m.device_state_hash().substr(0, 16);
  info.minute_median_ms.assign(m.minute_median_ms().begin(), m.minute_median_ms().end());
  info.engine_build_seconds = m.engine_build_seconds();
  info.artifact_sha256 = m.artifact_sha256();
  if (m.has_raw()) info.raw = m.raw().sha256();
  return info;
}

std::expected<CampaignResult, Error> CampaignRun::result() {
  CampaignResult result;
  const CampaignConfig& config = state_.config;
  result.campaign = config.name;
  result.seed = config.seed;
  result.precision = config.deploy.precision;
  result.finch_version = state_.version;
  result.started = state_.started;
  result.finished = state_.finished;
  result.status = finished() ? state_.status : "interrupted";
  for (const ObjectiveConfig& objective : config.objectives)
    result.objectives.push_back({objective.name, objective.direction, objective.unit});
  for (const auto& [id, candidate] : state_.candidates) {
    CandidatePoint point;
    point.id = id;
    point.genotype = candidate.genotype;
    point.seconds = candidate.told_seconds;
    point.parameters = candidate.cost.parameters;
    point.macs = candidate.cost.macs;
    point.peak_activation_bytes = candidate.cost.peak_activation_bytes;
    point.outcome = candidate.told ? candidate.outcome : "in flight";
    point.reused = candidate.reused;
    for (const auto& [device, screen] : candidate.screens)
      point.latency_by_device_ms[device] = screen.latency_median_ms();
    point.estimated = candidate.estimated();
    if (!candidate.screens.empty()) point.latency_ms = worst_latency_ms(candidate.screens);
    if (candidate.trained) {
      point.validation_top1 = candidate.trained->validation_top1();
      const Interval interval = validation_interval(*candidate.trained);
      point.validation_ci_low = interval.low;
      point.validation_ci_high = interval.high;
    }
    result.candidates.push_back(std::move(point));
  }
  result.notes = state_.notes;
  for (const DeviceConfig& device : config.devices) {
    const auto estimated = std::ranges::count_if(state_.candidates, [&](const auto& entry) {
      const auto screen = entry.second.screens.find(device.name);
      return screen != entry.second.screens.end() && is_estimate(screen->second);
    });
    if (estimated == 0 || !state_.predictors().begun(device.name)) continue;
    const search::PredictorQuality quality = state_.predictors().quality(device.name);
    result.notes.push_back(std::format(
        "{} candidates that could not be on the front were not measured on {}; of the last {} predictions that were "
        "checked there, {:.0f} % were within 10 %, their rank correlation is {:.3f}",
        estimated, device.name, quality.samples, 100 * quality.within_tenth, quality.rank_correlation));
  }
  result.pooled = !state_.pools.empty();
  for (const auto& [name, pool] : state_.pools) {
    std::string boards;
    for (const auto& [board, baseline_ms] : pool.baseline_ms)
      boards += std::format("{}{} ({:+.1f} %)", boards.empty() ? "" : ", ", board, 100 * pool.effect_of(board));
    result.notes.push_back(
        std::format("{} is a pool of {}: the search, the limits and the front compare latencies as its typical board "
                    "shows them, the "
                    "ratio to the reference network times {:.4g} ms; those of single boards are as measured there",
                    name, boards, pool.reference_ms));
  }
  if (state_.initial_weights) {
    const protocol::InitialWeights& initial = *state_.initial_weights;
    result.notes.push_back(
        std::format("{} tensors of {} are where the weights began", initial.loaded(), *config.init.from));
    for (const std::string& left_out : initial.left_out())
      result.notes.push_back("of the initial weights were left out: " + left_out);
  }
  if (state_.supernet) {
    result.notes.push_back(
        "the search's accuracies are those of the supernet's shared weights, without training of their own; "
        "finalists were trained on from there");
  }
  for (const auto& [name, device] : state_.devices) {
    const auto facts = device_facts(device);
    result.device.insert(result.device.end(), facts.begin(), facts.end());
  }
  if (state_.data) {
    result.data_hash = state_.data->data_hash();
    result.test_set_sha256 = state_.data->test_set().sha256();
    result.class_names.assign(state_.data->class_names().begin(), state_.data->class_names().end());
  }
  if (state_.teacher) {
    result.teacher_top1 = state_.teacher->validation_top1();
    const Interval interval = validation_interval(result.teacher_top1);
    result.teacher_ci_low = interval.low;
    result.teacher_ci_high = interval.high;
  }
  double begun = 0;
  for (const char* stage : {"devices", "data", "teacher", "init", "supernet", "search", "finalists"}) {
    const auto end = state_.stage_ends.find(stage);
    if (end == state_.stage_ends.end()) continue;
    const auto waiting = state_.stage_waiting.find(stage);
    result.stages.push_back({stage, end->second - begun, waiting == state_.stage_waiting.end() ? 0 : waiting->second});
    begun = end->second;
  }
  result.config_toml = resolved_toml(config);
  result.reproduce = std::format("scripts/finch run {} --seed {}", config.file.string(), config.seed);
  result.reused_results = state_.reused;

  // The front of what was really measured: test accuracy and latency of the file in the deployed precision.
  std::vector<const FinalistState*> complete;
  std::vector<std::vector<double>> points;
  if (state_.finalists) {
    for (const FinalistState& finalist : *state_.finalists) {
      if (!finalist.failure.empty())
        result.notes.push_back(std::format("finalist c{:03} failed: {}", finalist.id, finalist.failure));
      if (!finalist.failure.empty() || !state_.complete(finalist)) continue;
      const FinalistFile& file = finalist.files.at(config.deploy.precision);
      const Accuracies accuracies = state_.accuracies_of(*file.evaluation);
      if (shortfall_of(config.constraints, accuracies) > 0) {
        result.notes.push_back(std::format("finalist c{:03} is left out: {}", finalist.id,
                                           shortfall_text(config.constraints, accuracies)));
        continue;
      }
      complete.push_back(&finalist);
      points.push_back(state_.objectives(accuracies, state_.by_device(finalist), state_.cost_of(finalist)));
    }
  }
  const auto fronts = search::non_dominated_sort(points);
  if (!fronts.empty()) {
    for (const std::size_t i : fronts.front())
      result.models.push_back(front_model(*complete[i], state_.candidates.at(complete[i]->id)));
    for (std::size_t rank = 1; rank < fronts.size(); ++rank) {
      for (const std::size_t i : fronts[rank]) {
        result.notes.push_back(
            std::format("finalist c{:03} ({:.2f} %, {:.4f} ms) is left out: another is better in every objective",
                        complete[i]->id, 100 * complete[i]->files.at(config.deploy.precision).evaluation->top1(),
                        worst_latency_ms(state_.by_device(*complete[i]))));
      }
    }
  }
  std::ranges::sort(result.models, {}, [](const FrontModel& model) {
    return compared_latency(model.files.front().measurements.front()).median_ms;
  });
  mark_ties(result.models, config.deploy.precision);
  for (std::size_t i = 0; i < state_.baselines.size(); ++i) {
    const BaselineState& baseline = state_.baselines[i];
    if (!baseline.failure.empty())
      result.notes.push_back(std::format("baseline {} failed: {}", config.baselines[i].name, baseline.failure));
    if (baseline.failure.empty() && state_.complete(baseline)) result.baselines.push_back(baseline_info(i));
  }
  result.headline = compare_with_baselines(result.models, result.baselines);
  return result;
}

CampaignStatus CampaignRun::status() const {
  CampaignStatus status;
  status.campaign = state_.config.name;
  status.run_folder = folder_.path().string();
  status.stage = state_.stage();
  status.elapsed = std::chrono::duration<double>(now());
  status.asked = static_cast<std::int64_t>(state_.candidates.size());
  status.evaluated = state_.evaluated;
  status.dropped = state_.dropped;
  status.failed = state_.failed;
  status.reused = state_.reused;
  status.evaluation_budget = state_.config.budget.evaluations;
  status.waiting_seconds = state_.waiting_seconds;
  for (const auto& entry : state_.front.entries()) {
    const CandidateState& candidate = state_.candidates.at(entry.id);
    status.front.push_back({entry.id, candidate.trained->validation_top1(), worst_latency_ms(candidate.screens),
                            candidate.cost.parameters, candidate.cost.macs});
  }
  std::ranges::sort(status.front, {}, &StatusPoint::latency_ms);
  double running = 0;
  for (const auto& [key, job] : board_->jobs()) {
    if (job.status.state != JobState::leased) continue;
    std::string activity = job.description;
    if (!job.status.message.empty()) activity += ", " + job.status.message;
    status.workers.push_back(
        {job.status.worker, job.target.empty() ? "trainer" : "agent", activity, job.status.progress});
    running = std::max(running, job.status.progress);
    status.stage_detail = job.description;
  }
  const BudgetConfig& budget = state_.config.budget;
  if (status.stage == "teacher" || status.stage == "supernet") status.stage_progress = running;
  if (status.stage == "search") {
    if (budget.evaluations)
      status.stage_progress = static_cast<double>(state_.evaluated) / static_cast<double>(*budget.evaluations);
    const auto began = state_.stage_ends.find(state_.supernet          ? "supernet"
                                              : state_.initial_weights ? "init"
                                                                       : "teacher");
    if (budget.hours && began != state_.stage_ends.end()) {
      const double room = *budget.hours * 3600 - finalist_reserve() - began->second;
      if (room > 0) status.stage_progress = std::max(status.stage_progress, (now() - began->second) / room);
    }
    const double spent = began == state_.stage_ends.end() ? 0 : now() - began->second;
    if (state_.evaluated > 0 && status.stage_progress > 0) {
      status.remaining =
          std::chrono::duration<double>(spent * (1 / std::min(1.0, status.stage_progress) - 1) + finalist_reserve());
    }
  }
  if (state_.finalists && !finished()) {
    const auto seeds = static_cast<std::size_t>(state_.config.finalists.seeds);
    const std::size_t runtimes = 1 + state_.config.finalists.runtimes.size();
    const std::size_t steps_each = 2 * seeds - 1 +
                                   std::size(kFinalistPrecisions) * runtimes * 2 * state_.config.devices.size() +
                                   state_.config.finalists.pipeline.steps.size();
    std::size_t steps = 0;
    for (const FinalistState& finalist : *state_.finalists) {
      steps += seeds > 1 ? finalist.seeds.size() : finalist.trained.has_value();
      for (std::size_t i = 0; i < finalist.seeds.size(); ++i)
        steps += i != finalist.deployed_seed && finalist.seeds[i].evaluation;
      for (const auto& [kind, file] : finalist.files) steps += file.measurements.size() + file.evaluations.size();
      steps += finalist.pipeline.steps.size() - 1;  // under way counts as done
      if (!finalist.failure.empty()) steps += steps_each;
    }
    const std::size_t steps_of_baseline = 2 + state_.config.devices.size();
    for (const BaselineState& baseline : state_.baselines) {
      steps += state_.complete(baseline) ? steps_of_baseline
                                         : baseline.artifact.has_value() + baseline.file.measurements.size();
    }
    const std::size_t all_steps = steps_each * state_.finalists->size() + steps_of_baseline * state_.baselines.size();
    status.stage_progress = std::min(1.0, static_cast<double>(steps) / static_cast<double>(all_steps));
    const auto began = state_.stage_ends.find("search");
    if (steps > 0 && began != state_.stage_ends.end()) {
      status.remaining = std::chrono::duration<double>((now() - began->second) * (1 / status.stage_progress - 1));
    }
  }
  if (finished()) status.stage_progress = 1;
  status.stage_progress = std::clamp(status.stage_progress, 0.0, 1.0);
  if (status.remaining) status.overall_progress = now() / (now() + status.remaining->count());
  if (finished()) status.overall_progress = 1;
  return status;
}

}  // namespace finch::controller
