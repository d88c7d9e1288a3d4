#include "controller/campaign/campaign_state.hpp"

#include <algorithm>
#include <cmath>
#include <format>
#include <limits>
#include <stdexcept>
#include <utility>

#include "controller/campaign/constraints.hpp"
#include "controller/campaign/deployed_kind.hpp"
#include "controller/campaign/event_messages.hpp"
#include "controller/campaign/measuring.hpp"
#include "controller/campaign/space_spec.hpp"

namespace finch::controller {

Confusion confusion_of(const protocol::TrainedCandidate& trained) {
  Confusion confusion;
  const protocol::Confusion& pairs = trained.validation();
  for (int i = 0; i < pairs.count_size(); ++i)
    confusion[{pairs.label().at(i), pairs.prediction().at(i)}] += pairs.count().at(i);
  return confusion;
}

Accuracies accuracies_of(const protocol::TrainedCandidate& trained) {
  const Confusion confusion = confusion_of(trained);
  return confusion.empty() ? Accuracies(trained.validation_top1()) : Accuracies(confusion);
}

bool CandidateState::estimated() const {
  return std::ranges::any_of(screens, [](const auto& screen) { return is_estimate(screen.second); });
}

std::size_t FinalistState::median_seed(Metric metric) const {
  std::vector<std::pair<double, std::size_t>> order;
  for (std::size_t i = 0; i < seeds.size(); ++i)
    order.emplace_back(accuracies_of(*seeds[i].trained)[metric].value_or(0), i);
  std::ranges::sort(order);
  return order[(order.size() - 1) / 2].second;
}

double worst_latency_ms(const std::map<std::string, protocol::Measurement>& by_device) {
  double worst = 0;
  for (const auto& [device, measurement] : by_device) worst = std::max(worst, measurement.latency_median_ms());
  return worst;
}

std::size_t CampaignState::in_flight() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(candidates, [](const auto& entry) { return !entry.second.told; }));
}

std::string CampaignState::stage() const {
  if (!status.empty()) return "report";
  if (!std::ranges::all_of(config.devices, [this](const DeviceConfig& device) { return has_met(device); }))
    return "devices";
  if (!data) return "data";
  if (!teacher_settled) return "teacher";
  if (config.init.from && !initial_weights) return "init";
  if (wants_supernet() && !supernet) return "supernet";
  return finalists ? "finalists" : "search";
}

search::Cost CampaignState::cost_of(const search::Genotype& genotype) const {
  const auto network = space_->decode(genotype);
  return network ? search::cost_of(*network) : search::Cost{};
}

bool CampaignState::wants_energy(const std::string& device) const {
  return std::ranges::any_of(config.objectives, [&](const ObjectiveConfig& objective) {
    return objective.quantity() == "energy" && (objective.device().empty() || objective.device() == device);
  });
}

bool CampaignState::wants_confusion() const {
  const auto beyond_top1 = [](std::optional<Metric> metric) { return metric && *metric != Metric::top1; };
  return std::ranges::any_of(config.objectives,
                             [&](const ObjectiveConfig& o) { return beyond_top1(metric_named(o.name)); }) ||
         std::ranges::any_of(kMetrics, [&](Metric m) { return beyond_top1(m) && config.constraints.min(m); });
}

Confusion CampaignState::confusion_of(const protocol::Evaluation& evaluation) const {
  if (evaluation.predictions_size() != data->test_labels_size()) return {};  // of an earlier Finch
  const auto images = static_cast<std::size_t>(evaluation.predictions_size());
  return controller::confusion_of({data->test_labels().data(), images}, {evaluation.predictions().data(), images});
}

Accuracies CampaignState::accuracies_of(const protocol::Evaluation& evaluation) const {
  const Confusion confusion = confusion_of(evaluation);
  return confusion.empty() ? Accuracies(evaluation.top1()) : Accuracies(confusion);
}

std::vector<double> CampaignState::objectives(const Accuracies& accuracies,
                                              const std::map<std::string, protocol::Measurement>& by_device,
                                              const search::Cost& cost) const {
  const auto measured = [&](const ObjectiveConfig& objective, double (protocol::Measurement::*value)() const) {
    if (const std::string device = objective.device(); !device.empty()) return (by_device.at(device).*value)();
    double worst = 0;
    for (const auto& [device, measurement] : by_device) worst = std::max(worst, (measurement.*value)());
    return worst;
  };
  std::vector<double> values;
  for (const ObjectiveConfig& objective : config.objectives) {
    const std::string quantity = objective.quantity();
    if (const auto metric = metric_named(quantity)) values.push_back(100 - 100 * accuracies[*metric].value_or(0));
    if (quantity == "latency") values.push_back(measured(objective, &protocol::Measurement::latency_median_ms));
    if (quantity == "parameters") values.push_back(static_cast<double>(cost.parameters));
    if (quantity == "macs") values.push_back(static_cast<double>(cost.macs));
    if (quantity == "memory") values.push_back(static_cast<double>(cost.peak_activation_bytes));
    if (quantity == "energy") values.push_back(measured(objective, &protocol::Measurement::energy_net_mj));
  }
  return values;
}

std::expected<void, Error> CampaignState::start_search() {
  auto space = search::make_search_space(space_config(config, *data));
  if (!space) return std::unexpected(Error{space.error().message, ExitCode::usage});
  space_ = std::move(*space);
  search::AlgorithmConfig settings;
  settings.name = config.search.algorithm;
  settings.proxy = config.search.proxy;
  settings.seed = config.seed;
  settings.objectives = config.objectives.size();
  settings.population = static_cast<std::size_t>(config.search.population);
  settings.admissible = [this](const search::Genotype& genotype) {
    return keeps(config.constraints, *space_, genotype);
  };
  // What the cost model says exactly need not be learnt.
  for (const ObjectiveConfig& objective : config.objectives) {
    const auto known = [&](auto value) {
      settings.known_objectives.emplace_back(
          [this, value](const search::Genotype& genotype) { return static_cast<double>(cost_of(genotype).*value); });
    };
    if (objective.name == "parameters") {
      known(&search::Cost::parameters);
    } else if (objective.name == "macs") {
      known(&search::Cost::macs);
    } else if (objective.name == "memory") {
      known(&search::Cost::peak_activation_bytes);
    } else {
      settings.known_objectives.emplace_back();
    }
  }
  auto algorithm = search::make_search_algorithm(settings, *space_);
  if (!algorithm) return std::unexpected(Error{algorithm.error().message, ExitCode::usage});
  algorithm_ = std::move(*algorithm);
  halving_ = search::SuccessiveHalving(static_cast<std::size_t>(config.train.rungs), config.train.reduction);
  predictors_.emplace(*space_);  // after an extension the farm's history holds what this campaign measured
  return {};
}

std::expected<void, Error> CampaignState::apply_asked(const Event& event) {
  if (!algorithm_) throw std::runtime_error("a proposal before the data are known");
  if (!answer) answer = algorithm_->ask(1);  // a replay: the algorithm must propose what it proposed then
  const auto proposals = *std::exchange(answer, std::nullopt);
  const auto written = [](const std::string& genotype) { return genotype.empty() ? "nothing" : genotype; };
  const std::string recorded = event.data.value("genotype", "");
  const std::string proposed = proposals.empty() ? "" : search::to_string(proposals.front().genotype);
  if (proposed != recorded) {
    return std::unexpected(Error{std::format(
        "event {}: the search proposed {} then and proposes {} now; this run was made by another version of Finch",
        event.sequence, written(recorded), written(proposed))});
  }
  exhausted = proposals.empty();
  if (exhausted) return {};
  CandidateState candidate;
  candidate.id = proposals.front().id;
  candidate.genotype = proposals.front().genotype;
  candidate.parent = proposals.front().parent;
  candidate.cost = cost_of(candidate.genotype);
  candidates[candidate.id] = std::move(candidate);
  return {};
}

void CampaignState::apply_history(const Event& event) {
  const auto samples = [](const nlohmann::json& list) {
    std::vector<CostSample> read;
    for (const auto& sample : list) {
      read.push_back({.genotype = search::parse_genotype(sample.at(0).get<std::string>()).value(),
                      .latency_ms = sample.at(1),
                      .energy_mj = std::nullopt});
      if (!sample.at(2).is_null()) read.back().energy_mj = sample.at(2).get<double>();
    }
    return read;
  };
  std::vector<MeasuredDevice> others;
  for (const auto& other : event.data.at("others"))
    others.push_back({.name = other.at("name"), .samples = samples(other.at("samples"))});
  predictors_->begin(event.data.at("device"), samples(event.data.at("samples")), others);
}

void CampaignState::apply_screen(const Event& event) {
  CandidateState& candidate = candidates.at(event.data.at("id"));
  protocol::Measurement screen;
  std::string device;
  if (event.type == "screened") {
    screen = from_json<protocol::Measurement>(event.data.at("result"));
    device = event.data.value("device", screen.device());
    screen = compared(screen, device);
    if (predictors_->begun(device)) predictors_->add(device, cost_sample(candidate.genotype, screen));
    candidate.reused = event.data.value("reused", false);
  } else {
    std::optional<double> energy;
    if (event.data.contains("energy_mj")) energy = event.data.at("energy_mj").get<double>();
    device = event.data.at("device");
    screen = estimated_measurement(device, event.data.at("latency_ms"), energy);
  }
  candidate.screens[device] = std::move(screen);
}

void CampaignState::apply_trained(const Event& event) {
  CandidateState& candidate = candidates.at(event.data.at("id"));
  candidate.trained = from_json<protocol::TrainedCandidate>(event.data.at("result"));
  candidate.reused = event.data.value("reused", false);
  const std::size_t rung = candidate.rungs.size();
  candidate.rungs.push_back(controller::accuracies_of(*candidate.trained));
  candidate.trains_on =
      halving_.report(candidate.id, rung, objectives(candidate.rungs.back(), candidate.screens, candidate.cost));
}

void CampaignState::apply_told(const Event& event) {
  CandidateState& candidate = candidates.at(event.data.at("id"));
  if (candidate.told) throw std::runtime_error("the candidate was told before");
  search::Outcome outcome;
  outcome.objectives = event.data.at("objectives").get<std::vector<double>>();
  // JSON has no infinity: a failure is written as null.
  const auto& violation = event.data.at("violation");
  outcome.violation = violation.is_null() ? std::numeric_limits<double>::infinity() : violation.get<double>();
  candidate.told = outcome;
  candidate.outcome = event.data.at("outcome");
  candidate.told_seconds = event.seconds;
  algorithm_->tell(candidate.id, outcome);
  exhausted = false;
  const bool trained = !outcome.objectives.empty();
  if (trained && (outcome.violation <= 0 || candidate.outcome == kInaccurate)) {
    ++evaluated;
    if (candidate.evaluated()) front.insert({candidate.id, outcome.objectives});
  } else if (std::isinf(outcome.violation)) {
    ++failed;
  } else {
    ++dropped;
  }
}

void CampaignState::apply_finalist(const Event& event) {
  if (!finalists) throw std::runtime_error("a finalist before they were chosen");
  const auto found = std::ranges::find(*finalists, event.data.at("id").get<search::CandidateId>(), &FinalistState::id);
  if (found == finalists->end()) throw std::runtime_error("not one of the finalists");
  const bool was_reused = event.data.value("reused", false);
  if (event.type == "finalist_seed") {
    found->seeds.emplace_back().trained = from_json<protocol::TrainedCandidate>(event.data.at("result"));
    if (std::ssize(found->seeds) < config.finalists.seeds) return;
    found->deployed_seed = found->median_seed(metric_named(config.objectives.front().name).value());
    found->trained = found->seeds[found->deployed_seed].trained;
  }
  if (event.type == "finalist_seed_evaluated")
    found->seeds.at(event.data.at("seed")).evaluation = from_json<protocol::Evaluation>(event.data.at("result"));
  if (event.type == "finalist_trained") found->trained = from_json<protocol::TrainedCandidate>(event.data.at("result"));
  if (event.type == "finalist_step") {
    found->pipeline.apply(event.data.at("type"), event.data.at("step"));
    if (found->pipeline.done(config.finalists.pipeline)) found->take_compressed();
  }
  if (event.type == "finalist_failed") found->failure = event.data.at("why");
  if (event.type == "finalist_measured") {
    FinalistFile& file = found->files[event.data.at("precision")];
    auto measurement = from_json<protocol::Measurement>(event.data.at("result"));
    const std::string device = event.data.value("device", measurement.device());
    file.measurements[device].push_back({std::move(measurement), was_reused});
  }
  if (event.type == "finalist_evaluated") {
    FinalistFile& file = found->files[event.data.at("precision")];
    const std::string& first = config.devices.front().name;
    const std::string device = event.data.value("device", first);  // older campaigns tested on that one alone
    const auto evaluation = from_json<protocol::Evaluation>(event.data.at("result"));
    file.evaluations[device] = evaluation;
    for (const DeviceConfig& other : config.devices) {
      if (!event.data.contains("device")) file.evaluations[other.name] = evaluation;
    }
    if (device != first) return;
    file.evaluation = evaluation;
    file.evaluation_reused = was_reused;
    if (!found->seeds.empty() && event.data.at("precision") == config.deploy.precision)
      found->seeds[found->deployed_seed].evaluation = file.evaluation;
  }
}

void CampaignState::apply_baseline(const Event& event) {
  BaselineState& baseline = baselines.at(event.data.at("index"));
  const bool was_reused = event.data.value("reused", false);
  if (event.type == "baseline_file") baseline.artifact = from_json<protocol::ArtifactRef>(event.data.at("artifact"));
  if (event.type == "baseline_measured") {
    auto measurement = from_json<protocol::Measurement>(event.data.at("result"));
    const std::string device = event.data.value("device", measurement.device());
    baseline.file.measurements[device].push_back({std::move(measurement), was_reused});
  }
  if (event.type == "baseline_evaluated") {
    baseline.file.evaluation = from_json<protocol::Evaluation>(event.data.at("result"));
    baseline.file.evaluation_reused = was_reused;
  }
  if (event.type == "baseline_without_accuracy") baseline.no_accuracy = event.data.at("why");
  if (event.type == "baseline_failed") baseline.failure = event.data.at("why");
}

std::expected<void, Error> CampaignState::apply_created(const Event& event) {
  auto parsed = parse_campaign(event.data.at("config"), event.data.at("file").get<std::string>());
  if (!parsed) return std::unexpected(parsed.error());
  config = std::move(*parsed);
  run_id = event.data.at("run_id");
  version = event.data.at("version");
  started = event.utc;
  return {};
}

// The search begins anew with what is known: its candidates keep their numbers, and every one is judged again.
std::expected<void, Error> CampaignState::apply_extended(const Event& event) {
  auto parsed = parse_campaign(event.data.at("config"), event.data.at("file").get<std::string>());
  if (!parsed) return std::unexpected(parsed.error());
  const CampaignConfig before = std::exchange(config, std::move(*parsed));
  std::string text;
  for (const std::string change : event.data.at("changes")) text += (text.empty() ? "" : ", ") + change;
  notes.push_back(std::format("extended after {} evaluations: {}", evaluated, text));

  const auto as_before = [&](const std::string& name) {
    const DeviceConfig *was = before.device(name), *is = config.device(name);
    return was != nullptr && is != nullptr && was->provider == is->provider && was->threads == is->threads &&
           was->is_pool() == is->is_pool() && was->measure == is->measure;
  };
  std::erase_if(devices, [&](const auto& entry) { return config.device_with_board(entry.first) == nullptr; });
  std::erase_if(pools, [&](const auto& entry) { return !as_before(entry.first); });
  for (auto& [name, pool] : pools) {
    std::erase_if(pool.baseline_ms,
                  [&](const auto& board) { return !std::ranges::contains(config.device(name)->boards, board.first); });
  }
  search_closed.reset();
  for (const FinalistState& finalist : finalists.value_or(std::vector<FinalistState>())) {
    if (finalist.trained && finalist.failure.empty()) former_finalists.insert(finalist.id);
  }
  finalists.reset();
  baselines.clear();
  status.clear();
  finished.clear();
  answer.reset();
  exhausted = false;
  front = {};
  evaluated = dropped = failed = 0;
  stage_ends.erase("search");
  stage_ends.erase("finalists");
  if (!data) return {};
  if (auto begun = start_search(); !begun) return begun;
  for (auto& [id, candidate] : candidates) {
    candidate.told.reset();
    std::erase_if(candidate.screens, [&](const auto& screen) { return !as_before(screen.first); });
    candidate.outcome.clear();
    if (algorithm_->adopt(candidate.genotype) != id)
      throw std::runtime_error("the candidates are not numbered in order");
    if (candidate.screens.size() < config.devices.size()) continue;  // what it is worth is not known any more
    for (std::size_t rung = 0; rung < candidate.rungs.size(); ++rung) {
      (void)halving_.report(id, rung, objectives(candidate.rungs[rung], candidate.screens, candidate.cost));
    }
  }
  return {};
}

std::expected<void, Error> CampaignState::apply_one(const Event& event) {
  const auto& content = event.data;
  if (event.type == "created") return apply_created(event);
  if (event.type == "extended") return apply_extended(event);
  if (event.type == "device") {
    apply_device(event);
  } else if (event.type == "pool") {
    BoardPool& pool = pools[content.at("device")];
    pool.reference_ms = content.at("reference_ms");
    pool.baseline_ms = content.at("baseline_ms").get<std::map<std::string, double>>();
  } else if (event.type == "data") {
    data = from_json<protocol::DataFacts>(content.at("result"));
    return start_search();
  } else if (event.type == "teacher") {
    teacher_settled = true;
    if (content.contains("result")) teacher = from_json<protocol::TrainedTeacher>(content.at("result"));
  } else if (event.type == "initial_weights") {
    initial_weights = from_json<protocol::InitialWeights>(content.at("result"));
  } else if (event.type == "supernet") {
    supernet = from_json<protocol::TrainedSupernet>(content.at("result"));
  } else if (event.type == "asked") {
    return apply_asked(event);
  } else if (event.type == "history") {
    apply_history(event);
  } else if (event.type == "screened" || event.type == "estimated") {
    apply_screen(event);
  } else if (event.type == "trained") {
    apply_trained(event);
  } else if (event.type == "told") {
    apply_told(event);
  } else if (event.type == "search_closed") {
    search_closed = content.at("why");
  } else if (event.type == "finalists") {
    finalists.emplace();
    for (const auto& id : content.at("ids")) {
      FinalistState finalist;
      finalist.id = candidates.at(id).id;
      finalists->push_back(std::move(finalist));
    }
    baselines.assign(config.baselines.size(), {});
  } else if (event.type.starts_with("finalist_")) {
    apply_finalist(event);
  } else if (event.type.starts_with("baseline_")) {
    apply_baseline(event);
  } else if (event.type == "note") {
    notes.push_back(content.at("text"));
  } else if (event.type == "finished") {
    status = content.at("status");
    finished = event.utc;
  } else {
    return std::unexpected(Error{std::format(
        "event {}: '{}' is not known; this run was made by a newer version of Finch", event.sequence, event.type)});
  }
  return {};
}

std::expected<void, Error> CampaignState::apply(const Event& event) {
  try {
    const std::string before = stage();
    if (auto applied = apply_one(event); !applied) return applied;
    const double waited = event.data.value("paused_seconds", 0.0);
    waiting_seconds += waited;
    stage_waiting[before] += waited;
    if (event.data.value("reused", false)) ++reused;
    seconds = std::max(seconds, event.seconds);
    if (stage() != before) stage_ends[before] = event.seconds;
    return {};
  } catch (const std::exception& error) {
    return std::unexpected(
        Error{std::format("event {} ({}) of this campaign is damaged: {}", event.sequence, event.type, error.what())});
  }
}

}  // namespace finch::controller
