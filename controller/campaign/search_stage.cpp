#include <algorithm>
#include <cmath>
#include <format>
#include <limits>

#include "controller/campaign/campaign_run.hpp"
#include "controller/campaign/constraints.hpp"
#include "controller/campaign/deployed_kind.hpp"
#include "controller/campaign/finalist_choice.hpp"
#include "controller/campaign/measurement_history.hpp"
#include "controller/campaign/measuring.hpp"
#include "controller/campaign/quantizing.hpp"
#include "protocol/model_format.hpp"

namespace finch::controller {
namespace {

constexpr std::size_t kInFlight = 3;   // one measured, one trained, one on its way
constexpr std::int64_t kHopeless = 5;  // so many failures before any success end the campaign
constexpr std::int64_t kAskedPerEvaluation = 20;
// An estimate may be off by so much: it decides nothing that hangs on less. It is checked at every fourth candidate.
constexpr double kEstimateTolerance = 0.15;
constexpr search::CandidateId kChecked = 4;

}  // namespace

CampaignRun::Step CampaignRun::search_stage(FarmStore& store) {
  if (auto learnt = learn_history(store); !learnt) return learnt;
  for (auto& [id, candidate] : state_.candidates) {
    if (candidate.told) continue;
    if (auto advanced = advance_candidate(candidate); !advanced) return advanced;
    if (candidate.told && hopeless()) {
      return std::unexpected(
          Error{std::format("{} candidates failed and none succeeded; the last, {}; when the cause "
                            "is gone: finch resume {}",
                            state_.failed, candidate.outcome, folder_.path().string())});
    }
  }
  if (!state_.search_closed) return ask_if_free();
  return state_.in_flight() == 0 ? close_search() : Step{};
}

// What earlier campaigns measured becomes an event: a replay must not depend on what the farm knows by then.
CampaignRun::Step CampaignRun::learn_history(FarmStore& store) {
  if (!state_.config.measure.estimate) return {};
  const auto list = [](const std::vector<CostSample>& samples) {
    nlohmann::json all = nlohmann::json::array();
    for (const CostSample& sample : samples) {
      all.push_back({search::to_string(sample.genotype), sample.latency_ms, nullptr});
      if (sample.energy_mj) all.back().back() = *sample.energy_mj;
    }
    return all;
  };
  for (const DeviceConfig& device : state_.config.devices) {
    if (state_.predictors().begun(device.name)) continue;
    protocol::Deploy deployment = deploy(state_.config.deploy.precision, device);
    if (state_.config.measure.every_runtime) deployment.set_runtime("the fastest");  // which no measurement was with
    protocol::DeviceDescription known = state_.first_board(device);
    known.set_name(device.name);  // of a pool: what single boards measured is of others
    const auto history = measured_before(store, space_spec(), known, deployment);
    if (!history) return std::unexpected(history.error());
    nlohmann::json others = nlohmann::json::array();
    for (const MeasuredDevice& other : history->others)
      others.push_back({{"name", other.name}, {"samples", list(other.samples)}});
    const auto recorded =
        record("history", {{"device", device.name}, {"samples", list(history->samples)}, {"others", others}});
    if (!recorded) return recorded;
  }
  return {};
}

CampaignRun::Step CampaignRun::ask_if_free() {
  // With nothing evaluated there is nothing to finish with: the request waits for the first.
  if (state_.evaluated > 0 && std::filesystem::exists(folder_.finish_request()))
    return record("search_closed", {{"why", kAskedToFinish}});
  if (!budget_left()) return record("search_closed", {{"why", "the budget is used up"}});
  const auto& evaluations = state_.config.budget.evaluations;
  const auto in_flight = static_cast<std::int64_t>(state_.in_flight());
  if (state_.in_flight() >= kInFlight || (state_.exhausted && in_flight > 0)) return {};
  if (evaluations && state_.evaluated + in_flight >= *evaluations) return {};
  if (state_.exhausted) return record("search_closed", {{"why", "no network is left that keeps the constraints"}});
  if (!state_.answer) state_.answer = state_.algorithm().ask(1);
  // The event is on the disk before anything comes of the proposal; also the event that there was none, because asking
  // moved the algorithm's random numbers on.
  nlohmann::json data = nlohmann::json::object();
  if (!state_.answer->empty()) {
    const search::Proposal& proposal = state_.answer->front();
    data = {{"id", proposal.id}, {"genotype", search::to_string(proposal.genotype)}};
    if (proposal.parent) data["parent"] = *proposal.parent;
  }
  return record("asked", std::move(data));
}

bool CampaignRun::hopeless() const {
  return state_.evaluated == 0 && state_.failed - failed_before_ >= kHopeless;
}

bool CampaignRun::budget_left() const {
  const BudgetConfig& budget = state_.config.budget;
  if (budget.evaluations && state_.evaluated >= *budget.evaluations) return false;
  if (budget.evaluations &&
      static_cast<std::int64_t>(state_.candidates.size()) >= kAskedPerEvaluation * *budget.evaluations)
    return false;
  return !budget.hours || now() + finalist_reserve() < *budget.hours * 3600;
}

double CampaignRun::finalist_reserve() const {
  if (std::exchange(reserve_at_, recorded_) != recorded_) reserve_ = estimate_finalists();
  return reserve_;
}

// What those would take that would be chosen once the candidates under way and one more are evaluated; the candidates
// of the search so far stand for them.
double CampaignRun::estimate_finalists() const {
  const TrainConfig& train = state_.config.train;
  const MeasureConfig& tiers = state_.config.measure;
  const bool one_tier = tiers.search_tier == tiers.finalist_tier;
  const bool energy = std::ranges::any_of(state_.devices, [](const auto& entry) {
    const auto& measures = entry.second.measures();
    return std::ranges::find(measures, "energy") != measures.end();
  });
  // Devices measure side by side: the slowest of them counts.
  const auto screening = [](const CandidateState& candidate) {
    double longest = 0;
    for (const auto& [device, screen] : candidate.screens) longest = std::max(longest, screen.seconds());
    return longest;
  };
  const auto seconds = [&](const CandidateState& candidate) {
    const std::size_t rung = candidate.rungs.size() - 1;
    const double epochs = epochs_until(rung) - (rung > 0 ? epochs_until(rung - 1) : 0);
    const double epoch = state_.supernet
                             ? static_cast<double>(state_.data->train_samples()) / state_.supernet->images_per_second()
                             : candidate.trained->seconds() / epochs;
    const double measuring = one_tier ? screening(candidate) : tier_seconds(tiers.finalist_tier, energy);
    const double evaluating =
        1 + 1.2 * worst_latency_ms(candidate.screens) / 1e3 * static_cast<double>(state_.data->test_samples());
    const auto seeds = static_cast<double>(state_.config.finalists.seeds);
    const auto kinds = static_cast<double>(2 * (1 + state_.config.finalists.runtimes.size()));
    const PipelineConfig& pipeline = state_.config.finalists.pipeline;
    const double steps = pipeline.steps.empty() ? 0 : static_cast<double>(pipeline.steps.size() + 1);
    return seeds * train.finalist_epochs * epoch + kinds * measuring + (seeds - 1 + kinds) * evaluating +
           pipeline.training_epochs() * epoch + steps * (screening(candidate) + evaluating);
  };
  double sum = 0, searching = 0;
  std::size_t known = 0;
  for (const auto& [id, candidate] : state_.candidates) {
    if (!candidate.trained) continue;
    sum += seconds(candidate);
    searching += candidate.trained->seconds() + screening(candidate);
    ++known;
  }
  if (known == 0) return 0;
  const double mean = sum / static_cast<double>(known);
  // Those on their way and the next one may become finalists too.
  const auto chosen = choose_finalists(state_);
  const auto room =
      static_cast<std::size_t>(std::max<std::int64_t>(0, state_.config.finalists.count - std::ssize(chosen)));
  const std::size_t coming = std::min(room, state_.in_flight() + 1);
  double finalists = mean * static_cast<double>(coming);
  for (const search::CandidateId id : chosen) {
    if (!state_.former_finalists.contains(id)) finalists += seconds(state_.candidates.at(id));
  }
  finalists += mean * static_cast<double>(state_.config.baselines.size());
  const double in_flight = static_cast<double>(state_.in_flight() + 1) * searching / static_cast<double>(known);
  return 1.1 * finalists + in_flight + 5;
}

CampaignRun::Step CampaignRun::advance_candidate(CandidateState& candidate) {
  // Only what an extension took over: the search itself proposes nothing that breaks them.
  if (const double excess = excess_over(state_.config.constraints, candidate.cost); excess > 0) {
    say(std::format("candidate {}: breaks the constraints as they are now", candidate.id));
    return tell(candidate, {}, excess, "too large");
  }
  const auto& devices = state_.config.devices;
  if (candidate.screens.size() < devices.size()) {
    for (const DeviceConfig& device : devices) {
      if (candidate.screens.contains(device.name)) continue;
      const auto done = candidate.id % kChecked != 0 ? estimate(candidate, device) : Step{};
      if (!done || candidate.screens.contains(device.name)) return done;
      if (auto screened = screen(candidate, device); !screened || candidate.told) return screened;
    }
    return {};
  }
  // Hardware first: what is too slow somewhere is never trained.
  double violation = 0;
  for (const DeviceConfig& device : devices) {
    const double latency = candidate.screens.at(device.name).latency_median_ms();
    if (!device.latency_ms) continue;
    const bool close = std::abs(latency / *device.latency_ms - 1) <= kEstimateTolerance;
    if (close && is_estimate(candidate.screens.at(device.name))) return screen(candidate, device);
    if (latency <= *device.latency_ms) continue;
    violation += latency / *device.latency_ms - 1;
    say(std::format("candidate {}: {:.3f} ms{}, slower than {} ms: not trained", candidate.id, latency,
                    devices.size() > 1 ? " on " + device.name : "", *device.latency_ms));
  }
  if (violation > 0) return tell(candidate, {}, violation, "too slow");
  if (!candidate.trained || candidate.trains_on) return train(candidate);
  const std::size_t rung = candidate.rungs.size() - 1;
  const Accuracies& accuracies = candidate.rungs.back();
  const bool complete = rung + 1 == state_.halving().rungs();
  // Only what was measured is on the front.
  if (complete && candidate.estimated() && may_be_on_front(candidate)) {
    for (const DeviceConfig& device : devices) {
      if (is_estimate(candidate.screens.at(device.name))) return screen(candidate, device);
    }
  }
  const double shortfall = complete ? shortfall_of(state_.config.constraints, accuracies) : 0;
  say(std::format("candidate {}: {:.2f} %{}{}, {:.3f} ms{}, {} parameters{}", candidate.id, 100 * accuracies.top1(),
                  shortfall > 0 ? ", below a least accuracy" : "",
                  complete ? "" : std::format(" after {:.2g} epochs, not trained on", epochs_until(rung)),
                  worst_latency_ms(candidate.screens), candidate.estimated() ? " (estimated)" : "",
                  candidate.cost.parameters, candidate.reused ? " (reused)" : ""));
  auto objectives = state_.objectives(accuracies, candidate.screens, candidate.cost);
  if (complete) return tell(candidate, std::move(objectives), shortfall, shortfall > 0 ? kInaccurate : kEvaluated);
  for (std::size_t i = 0; i < objectives.size(); ++i) {
    if (metric_named(state_.config.objectives[i].name))
      objectives[i] = state_.halving().at_the_end(rung, objectives[i]);
  }
  return tell(candidate, std::move(objectives), 0, "stopped");
}

// Were it faster than estimated by as much as an estimate may be wrong.
bool CampaignRun::may_be_on_front(const CandidateState& candidate) const {
  auto screens = candidate.screens;
  for (auto& [device, screen] : screens) {
    if (!is_estimate(screen)) continue;
    screen.set_latency_median_ms((1 - kEstimateTolerance) * screen.latency_median_ms());
    screen.set_energy_net_mj((1 - kEstimateTolerance) * screen.energy_net_mj());
  }
  const auto objectives = state_.objectives(candidate.rungs.back(), screens, candidate.cost);
  return std::ranges::none_of(state_.front.entries(), [&](const search::ArchiveEntry& entry) {
    return search::dominates(entry.objectives, objectives);
  });
}

CampaignRun::Step CampaignRun::estimate(const CandidateState& candidate, const DeviceConfig& device) {
  const auto estimate = state_.predictors().estimate(device.name, candidate.genotype, state_.wants_energy(device.name));
  if (!estimate) return {};
  nlohmann::json data = {{"id", candidate.id},
                         {"device", device.name},
                         {"latency_ms", estimate->sample.latency_ms},
                         {"samples", estimate->quality.samples},
                         {"rank_correlation", estimate->quality.rank_correlation},
                         {"within_tenth", estimate->quality.within_tenth},
                         {"similar", estimate->similar}};
  if (estimate->sample.energy_mj) data["energy_mj"] = *estimate->sample.energy_mj;
  return record("estimated", std::move(data));
}

// With several runtimes the screen is the fastest one's measurement; the others' times stand beside it.
CampaignRun::Step CampaignRun::screen(CandidateState& candidate, const DeviceConfig& device) {
  const std::string& precision = state_.config.deploy.precision;
  std::vector<std::string> runtimes = campaign_runtimes(state_.config);
  if (!state_.config.measure.every_runtime) runtimes.resize(1);
  std::optional<JobOutcome> fastest;
  nlohmann::json latencies = nlohmann::json::object();
  for (const std::string& runtime : runtimes) {
    const auto exported = board_->result_of(export_of(candidate, runtime));
    if (!exported) return std::unexpected(exported.error());
    if (!*exported) return {};
    if ((*exported)->result.has_failure()) return fail(candidate, (*exported)->result.failure().message());
    const auto* file = file_of((*exported)->result.exported_network().files(), {precision, runtime});
    if (file == nullptr)
      return fail(candidate, std::format("the trainer exported no {} file for {}", precision, runtime));
    auto measured =
        measure(file->artifact(), kind_name({precision, runtime}, state_.config.deploy), device,
                state_.config.measure.search_tier, std::format("candidate {}", candidate.id), state_.boards_of(device));
    if (!measured) return std::unexpected(measured.error());
    if (!*measured) return {};
    if ((*measured)->result.has_failure()) return fail(candidate, (*measured)->result.failure().message());
    const double latency = state_.compared((*measured)->result.measurement(), device.name).latency_median_ms();
    latencies[runtime] = latency;
    if (!fastest || latency < state_.compared(fastest->result.measurement(), device.name).latency_median_ms())
      fastest = std::move(**measured);
  }
  nlohmann::json data = {{"id", candidate.id},
                         {"device", device.name},
                         {"result", to_json(fastest->result.measurement())},
                         {"reused", fastest->reused}};
  if (runtimes.size() > 1) data["latency_ms"] = std::move(latencies);
  return record("screened", std::move(data));
}

JobRequest CampaignRun::export_of(const CandidateState& candidate, const std::string& runtime) const {
  JobRequest request{.job = {},
                     .target = "",
                     .priority = 50,
                     .depends_on = state_.data->data_hash(),
                     .description = std::format("exporting candidate {}", candidate.id)};
  protocol::ExportRandom& job = *request.job.mutable_export_random();
  *job.mutable_space() = space_spec();
  for (const int choice : candidate.genotype) job.add_genotype(choice);
  job.add_precisions(state_.config.deploy.precision);
  job.set_format(std::string(protocol::format_read_by(runtime)));
  job.set_seed(1);
  *job.mutable_data() = data_spec();
  if (state_.config.deploy.precision == "int8") *job.mutable_quantize() = quantize_spec(state_.config.quantize);
  return request;
}

std::expected<std::optional<JobOutcome>, Error> CampaignRun::measure(const protocol::ArtifactRef& model,
                                                                     const std::string& kind,
                                                                     const DeviceConfig& device,
                                                                     const std::string& tier, const std::string& what,
                                                                     const std::vector<std::string>& boards) {
  const std::string runtime = deployed_kind(kind, state_.config.deploy).runtime;
  int own = 0;  // what an earlier campaign found invalid is tried anew, and does not count
  for (int attempt = 1;; ++attempt) {
    const auto request_on = [&](const protocol::DeviceDescription& board) {
      JobRequest request{.job = {},
                         .target = board.name(),
                         .priority = 40,
                         .depends_on = state_of_attempt(board, runtime, attempt),
                         .description = std::format("measuring {} ({}, {})", what, kind, tier)};
      protocol::Measure& job = *request.job.mutable_measure();
      *job.mutable_model() = model;
      *job.mutable_deploy() = deploy(kind, device);
      job.set_tier(tier);
      // The energy of a candidate is to be that of a finalist; else the run at the rate is for finalists.
      if (tier == state_.config.measure.finalist_tier || state_.wants_energy(device.name))
        job.set_rate_hz(state_.config.measure.rate_hz);
      job.set_device(board.name());
      job.set_state_hash(device_state(board, runtime));
      set_parameters(job, device.measure);
      return request;
    };
    auto done = ask_device(device, request_on, boards);
    if (!done || !*done || (*done)->result.has_failure()) return done;
    const protocol::Measurement& measurement = (*done)->result.measurement();
    std::string reasons;
    for (const std::string& reason : measurement.reasons()) reasons += (reasons.empty() ? "" : ", ") + reason;
    if (measurement.verdict() == "INVALID") {
      if (!(*done)->reused) ++own;
      if (own < kMeasurementAttempts) continue;
      (*done)->result.mutable_failure()->set_message(
          std::format("{} measurements of {} were invalid: {}", own, what, reasons));
    } else if (state_.wants_energy(device.name) && !measurement.has_energy_net_mj()) {
      (*done)->result.mutable_failure()->set_message(
          std::format("the measurement of {} has no energy{}{}", what, reasons.empty() ? "" : ": ", reasons));
    }
    return done;
  }
}

double CampaignRun::epochs_until(std::size_t rung) const {
  return state_.config.train.epochs * state_.halving().share(rung);
}

JobRequest CampaignRun::training_of(const CandidateState& candidate) const {
  JobRequest request{.job = {},
                     .target = "",
                     .priority = 20,
                     .depends_on = state_.data->data_hash(),
                     .description = std::format("training candidate {}", candidate.id)};
  const std::size_t rung = candidate.rungs.size();
  protocol::TrainCandidate& job = *request.job.mutable_train_candidate();
  *job.mutable_space() = space_spec();
  for (const int choice : candidate.genotype) job.add_genotype(choice);
  *job.mutable_data() = data_spec();
  *job.mutable_recipe() = recipe(epochs_until(rung) - (rung > 0 ? epochs_until(rung - 1) : 0));
  add_teacher(job);
  if (user_trains()) *job.mutable_user_trainer() = user_trainer();
  if (candidate.trained) {
    *job.mutable_parent_checkpoint() = candidate.trained->checkpoint();
    return request;
  }
  if (state_.initial_weights) *job.mutable_initial_weights() = state_.initial_weights->weights();
  if (state_.config.train.inherit && candidate.parent) {
    const CandidateState& parent = state_.candidates.at(*candidate.parent);
    if (parent.trained) *job.mutable_parent_checkpoint() = parent.trained->checkpoint();
  }
  return request;
}

JobRequest CampaignRun::evaluation_of(const CandidateState& candidate) const {
  JobRequest request{.job = {},
                     .target = "",
                     .priority = 20,
                     .depends_on = state_.data->data_hash(),
                     .description = std::format("evaluating candidate {}", candidate.id)};
  protocol::EvaluateSubnet& job = *request.job.mutable_evaluate_subnet();
  *job.mutable_space() = space_spec();
  for (const int choice : candidate.genotype) job.add_genotype(choice);
  *job.mutable_data() = data_spec();
  *job.mutable_supernet() = state_.supernet->supernet();
  job.set_threads(static_cast<int>(state_.config.train.threads));
  return request;
}

CampaignRun::Step CampaignRun::train(CandidateState& candidate) {
  const auto done = board_->result_of(state_.supernet ? evaluation_of(candidate) : training_of(candidate));
  if (!done) return std::unexpected(done.error());
  if (!*done) return {};
  const protocol::JobResult& result = (*done)->result;
  if (result.has_failure()) return fail(candidate, result.failure().message());
  if (state_.wants_confusion() && !result.trained_candidate().has_validation())
    return fail(candidate, user_trains() ? "metrics.json has no confusion, which the campaign's metrics need"
                                         : "the trainer gave no confusion matrix; it is older than this finch");
  return record("trained", {{"id", candidate.id},
                            {"result", to_json(result.trained_candidate())},
                            {"reused", (*done)->reused},
                            {"paused_seconds", (*done)->reused ? 0 : result.paused_seconds()}});
}

CampaignRun::Step CampaignRun::tell(const CandidateState& candidate, std::vector<double> objectives, double violation,
                                    const std::string& outcome) {
  nlohmann::json data = {
      {"id", candidate.id}, {"objectives", objectives}, {"violation", nullptr}, {"outcome", outcome}};
  if (std::isfinite(violation)) data["violation"] = violation;
  return record("told", std::move(data));
}

CampaignRun::Step CampaignRun::fail(const CandidateState& candidate, const std::string& why) {
  say(std::format("candidate {} failed: {}", candidate.id, why));
  return tell(candidate, {}, std::numeric_limits<double>::infinity(), "failed: " + why);
}

CampaignRun::Step CampaignRun::close_search() {
  const auto chosen = choose_finalists(state_);
  if (chosen.empty()) {
    return std::unexpected(Error{
        state_.dropped > 0 || state_.candidates.empty()
            ? std::format("no candidate keeps all constraints ({}, {} too slow); loosen [constraints] and run the "
                          "campaign anew",
                          *state_.search_closed, state_.dropped)
            : std::format("no candidate could be evaluated ({}, {} failed); see finch plan for what the campaign needs",
                          *state_.search_closed, state_.failed)});
  }
  say(std::format("search over ({}): {} candidates evaluated, {} finalists", *state_.search_closed, state_.evaluated,
                  chosen.size()));
  return record("finalists", {{"ids", chosen}});
}

}  // namespace finch::controller
