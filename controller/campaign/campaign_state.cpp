#include "controller/campaign/campaign_state.hpp"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cmath>
#include <format>
#include <limits>

namespace finch::controller {
namespace {

template <typename Message>
Message from_json(const nlohmann::json& json) {
  Message message;
  (void)google::protobuf::util::JsonStringToMessage(json.dump(), &message);
  return message;
}

}  // namespace

nlohmann::json to_json(const google::protobuf::Message& message) {
  std::string text;
  (void)google::protobuf::util::MessageToJsonString(message, &text);
  return nlohmann::json::parse(text);
}

bool FinalistState::complete() const {
  if (!failure.empty()) return true;
  return trained && std::ranges::all_of(kFinalistPrecisions, [&](const char* precision) {
           const auto file = files.find(precision);
           return file != files.end() && file->second.measurement && file->second.evaluation;
         });
}

std::size_t CampaignState::in_flight() const {
  return static_cast<std::size_t>(
      std::ranges::count_if(candidates, [](const auto& entry) { return !entry.second.told; }));
}

std::string CampaignState::stage() const {
  if (!status.empty()) return "report";
  if (!device) return "devices";
  if (!data) return "data";
  if (!teacher_settled) return "teacher";
  return finalists ? "finalists" : "search";
}

search::Cost CampaignState::cost_of(const search::Genotype& genotype) const {
  const auto network = space_->decode(genotype);
  return network ? search::cost_of(*network) : search::Cost{};
}

bool CampaignState::admissible(const search::Genotype& genotype) const {
  const auto network = space_->decode(genotype);
  if (!network) return false;
  const search::Cost cost = search::cost_of(*network);
  const ConstraintConfig& limits = config.constraints;
  const auto within = [](const std::optional<double>& limit, double value) { return !limit || value <= *limit; };
  return within(limits.parameters, static_cast<double>(cost.parameters)) &&
         within(limits.macs, static_cast<double>(cost.macs)) &&
         within(limits.memory_mb, static_cast<double>(cost.peak_activation_bytes) / (1 << 20));
}

std::vector<double> CampaignState::objectives(double top1, double latency_ms, const search::Cost& cost) const {
  std::vector<double> values;
  for (const ObjectiveConfig& objective : config.objectives) {
    if (objective.name == "accuracy") values.push_back(100 - 100 * top1);
    if (objective.name == "latency") values.push_back(latency_ms);
    if (objective.name == "parameters") values.push_back(static_cast<double>(cost.parameters));
    if (objective.name == "macs") values.push_back(static_cast<double>(cost.macs));
    if (objective.name == "memory") values.push_back(static_cast<double>(cost.peak_activation_bytes));
  }
  return values;
}

std::expected<void, Error> CampaignState::start_search() {
  auto space = search::make_search_space({.name = config.space,
                                          .image = {data->channels(), data->height(), data->width()},
                                          .classes = data->class_names_size()});
  if (!space) return std::unexpected(Error{space.error().message, ExitCode::usage});
  space_ = std::move(*space);
  search::AlgorithmConfig settings;
  settings.name = config.search.algorithm;
  settings.seed = config.seed;
  settings.objectives = config.objectives.size();
  settings.population = static_cast<std::size_t>(config.search.population);
  settings.admissible = [this](const search::Genotype& genotype) { return admissible(genotype); };
  auto algorithm = search::make_search_algorithm(settings, *space_);
  if (!algorithm) return std::unexpected(Error{algorithm.error().message, ExitCode::usage});
  algorithm_ = std::move(*algorithm);
  return {};
}

std::expected<void, Error> CampaignState::apply_asked(const Event& event) {
  if (!proposed) {  // a replay: the algorithm must propose what it proposed then
    const auto again = algorithm_->ask(1);
    if (!again.empty()) proposed = again.front();
  }
  const std::string recorded = event.data.at("genotype");
  if (!proposed || search::to_string(proposed->genotype) != recorded) {
    return std::unexpected(Error{std::format(
        "event {}: the search proposed {} then and proposes {} now; this run was made by another version of Finch",
        event.sequence, recorded, proposed ? search::to_string(proposed->genotype) : "nothing")});
  }
  CandidateState candidate;
  candidate.id = proposed->id;
  candidate.genotype = proposed->genotype;
  candidate.parent = proposed->parent;
  candidate.cost = cost_of(candidate.genotype);
  candidates[candidate.id] = std::move(candidate);
  proposed.reset();
  return {};
}

void CampaignState::apply_told(const Event& event) {
  CandidateState& candidate = candidates.at(event.data.at("id"));
  search::Outcome outcome;
  outcome.objectives = event.data.at("objectives").get<std::vector<double>>();
  // JSON has no infinity: a failure is written as null.
  const auto& violation = event.data.at("violation");
  outcome.violation = violation.is_null() ? std::numeric_limits<double>::infinity() : violation.get<double>();
  candidate.told = outcome;
  candidate.outcome = event.data.at("outcome");
  candidate.told_seconds = event.seconds;
  algorithm_->tell(candidate.id, outcome);
  if (outcome.violation <= 0 && !outcome.objectives.empty()) {
    ++evaluated;
    front.insert({candidate.id, outcome.objectives});
  } else if (std::isinf(outcome.violation)) {
    ++failed;
  } else {
    ++dropped;
  }
}

void CampaignState::apply_finalist(const Event& event) {
  const auto found = std::ranges::find(*finalists, event.data.at("id").get<search::CandidateId>(), &FinalistState::id);
  if (found == finalists->end()) return;
  const bool was_reused = event.data.value("reused", false);
  if (event.type == "finalist_trained") found->trained = from_json<protocol::TrainedCandidate>(event.data.at("result"));
  if (event.type == "finalist_failed") found->failure = event.data.at("why");
  if (event.type == "finalist_measured") {
    FinalistFile& file = found->files[event.data.at("precision")];
    file.measurement = from_json<protocol::Measurement>(event.data.at("result"));
    file.measurement_reused = was_reused;
  }
  if (event.type == "finalist_evaluated") {
    FinalistFile& file = found->files[event.data.at("precision")];
    file.evaluation = from_json<protocol::Evaluation>(event.data.at("result"));
    file.evaluation_reused = was_reused;
  }
}

std::expected<void, Error> CampaignState::apply(const Event& event) {
  const auto& data_ = event.data;
  try {
    const std::string before = stage();
    const double waited = data_.value("paused_seconds", 0.0);
    waiting_seconds += waited;
    stage_waiting[before] += waited;
    if (data_.value("reused", false)) ++reused;
    if (event.type == "created") {
      auto parsed = parse_campaign(data_.at("config"), data_.at("file").get<std::string>());
      if (!parsed) return std::unexpected(parsed.error());
      config = std::move(*parsed);
      profile.name = data_.at("profile");
      run_id = data_.at("run_id");
      version = data_.at("version");
      started = event.utc;
    } else if (event.type == "device") {
      device = from_json<protocol::DeviceDescription>(data_.at("device"));
    } else if (event.type == "data") {
      data = from_json<protocol::DataFacts>(data_.at("result"));
      if (auto begun = start_search(); !begun) return begun;
    } else if (event.type == "teacher") {
      teacher_settled = true;
      if (data_.contains("result")) teacher = from_json<protocol::TrainedTeacher>(data_.at("result"));
    } else if (event.type == "asked") {
      if (auto asked = apply_asked(event); !asked) return asked;
    } else if (event.type == "screened") {
      CandidateState& candidate = candidates.at(data_.at("id"));
      candidate.screen = from_json<protocol::Measurement>(data_.at("result"));
      candidate.reused = data_.value("reused", false);
    } else if (event.type == "trained") {
      CandidateState& candidate = candidates.at(data_.at("id"));
      candidate.trained = from_json<protocol::TrainedCandidate>(data_.at("result"));
      candidate.reused = data_.value("reused", false);
    } else if (event.type == "told") {
      apply_told(event);
    } else if (event.type == "search_closed") {
      search_closed = data_.at("why");
    } else if (event.type == "finalists") {
      finalists.emplace();
      for (const auto& id : data_.at("ids")) {
        FinalistState finalist;
        finalist.id = id;
        finalists->push_back(std::move(finalist));
      }
    } else if (event.type.starts_with("finalist_")) {
      apply_finalist(event);
    } else if (event.type == "note") {
      notes.push_back(data_.at("text"));
    } else if (event.type == "finished") {
      status = data_.at("status");
      finished = event.utc;
    }
    seconds = std::max(seconds, event.seconds);
    if (stage() != before) stage_ends[before] = event.seconds;
    return {};
  } catch (const std::exception& error) {
    return std::unexpected(
        Error{std::format("event {} ({}) of this campaign is damaged: {}", event.sequence, event.type, error.what())});
  }
}

}  // namespace finch::controller
