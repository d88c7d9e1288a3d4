#include "controller/report/report_json.hpp"

#include <nlohmann/json.hpp>

#include "controller/report/report.hpp"

namespace finch::controller {
namespace {

using Json = nlohmann::ordered_json;

Json file_value(const ModelFile& file) {
  Json value = {{"path", file.path},     {"precision", file.precision},
                {"sha256", file.sha256}, {"size_bytes", file.size_bytes},
                {"accuracy", nullptr},   {"measurements", Json::array()}};
  if (file.accuracy) {
    value["accuracy"] = {{"top1", file.accuracy->top1},     {"samples", file.accuracy->samples},
                         {"split", file.accuracy->split},   {"reused", file.accuracy->reused},
                         {"ci_low", file.accuracy->ci_low}, {"ci_high", file.accuracy->ci_high},
                         {"metrics", Json::object()},       {"confusion", Json::array()}};
    for (const MetricInfo& metric : file.accuracy->metrics) {
      value["accuracy"]["metrics"][metric.name] = {
          {"value", metric.value}, {"ci_low", metric.ci_low}, {"ci_high", metric.ci_high}};
    }
    for (const auto& [pair, count] : file.accuracy->confusion)
      value["accuracy"]["confusion"].push_back({pair.first, pair.second, count});
  }
  for (const MeasurementInfo& measurement : file.measurements) {
    value["measurements"].push_back(measurement_value(measurement));
  }
  return value;
}

}  // namespace

Json measurement_value(const MeasurementInfo& measurement) {
  const DeployInfo& deploy = measurement.deploy;
  Json value = {
      {"device", measurement.device},
      {"profile", measurement.profile},
      {"runtime", measurement.runtime},
      {"tier", measurement.tier},
      {"deploy",
       {{"runtime", deploy.runtime},
        {"provider", deploy.provider},
        {"precision", deploy.precision},
        {"threads", deploy.threads},
        {"batch", deploy.batch}}},
      {"verdict", measurement.verdict},
      {"reasons", measurement.reasons},
      {"latency_ms",
       {{"median", measurement.median_ms},
        {"ci_low", measurement.ci_low_ms},
        {"ci_high", measurement.ci_high_ms},
        {"p90", measurement.p90_ms},
        {"p99", measurement.p99_ms},
        {"runs", measurement.runs}}},
      {"memory_bytes", {{"load_peak", measurement.load_peak_bytes}, {"run_peak", measurement.run_peak_bytes}}},
      {"energy_mj", nullptr},
      {"artifact_sha256", measurement.artifact_sha256},
      {"raw", nullptr},
      {"reused", measurement.reused}};
  if (measurement.energy) {
    value["energy_mj"] = {{"gross", measurement.energy->gross_mj},
                          {"net", measurement.energy->net_mj},
                          {"provenance", measurement.energy->provenance}};
  }
  if (measurement.raw) value["raw"] = *measurement.raw;
  if (measurement.normalised) {
    value["normalised_ms"] = {{"median", measurement.normalised->median_ms},
                              {"ci_low", measurement.normalised->ci_low_ms},
                              {"ci_high", measurement.normalised->ci_high_ms},
                              {"baseline_ms", measurement.normalised->baseline_ms}};
  }
  if (measurement.pooled) {
    value["pool_ms"] = {{"pool", measurement.pooled->pool},
                        {"effect", measurement.pooled->effect},
                        {"median", measurement.pooled->median_ms},
                        {"ci_low", measurement.pooled->ci_low_ms},
                        {"ci_high", measurement.pooled->ci_high_ms}};
  }
  if (!measurement.epoch.empty()) value["epoch"] = measurement.epoch;
  if (measurement.at_rate) {
    value["at_rate"] = {
        {"rate_hz", measurement.at_rate->rate_hz},
        {"frames", measurement.at_rate->frames},
        {"missed_deadlines", measurement.at_rate->missed_deadlines},
        {"latency_ms", {{"median", measurement.at_rate->median_ms}, {"p99", measurement.at_rate->p99_ms}}}};
  }
  for (const ConditionInfo& condition : measurement.conditions) {
    value["conditions"].push_back({{"name", condition.name},
                                   {"latency_ms", {{"median", condition.median_ms}, {"p99", condition.p99_ms}}},
                                   {"slowdown", condition.slowdown},
                                   {"remarks", condition.remarks}});
  }
  if (measurement.engine_build_seconds > 0) value["engine_build_seconds"] = measurement.engine_build_seconds;
  if (!measurement.minute_median_ms.empty()) value["minute_median_ms"] = measurement.minute_median_ms;
  return value;
}

Json front_value(const CampaignResult& result) {
  Json value = {{"format", 1},
                {"campaign", result.campaign},
                {"seed", result.seed},
                {"status", result.status},
                {"finch_version", result.finch_version},
                {"objectives", Json::array()},
                {"classes", result.class_names},
                {"models", Json::array()},
                {"headline", result.headline},
                {"baselines", Json::array()},
                {"notes", result.notes}};
  // What the search compared by: the objective's latency is of a pool's typical board, or as measured.
  value["search_latency"] = result.pooled ? "pool_ms" : "latency_ms";
  for (const ObjectiveInfo& objective : result.objectives) {
    value["objectives"].push_back(
        {{"name", objective.name}, {"direction", objective.direction}, {"unit", objective.unit}});
  }
  for (const FrontModel& model : result.models) {
    Json files = Json::array();
    for (const ModelFile& file : model.files) files.push_back(file_value(file));
    Json seeds = Json::array();
    for (const SeedInfo& seed : model.seeds) {
      seeds.push_back({{"seed", seed.seed},
                       {"validation_top1", seed.validation_top1},
                       {"test_top1", seed.test_top1},
                       {"deployed", seed.deployed}});
    }
    value["models"].push_back({{"id", model.id},
                               {"space", model.space},
                               {"genotype", model.genotype},
                               {"parameters", model.parameters},
                               {"macs", model.macs},
                               {"peak_activation_bytes", model.peak_activation_bytes},
                               {"validation_top1", model.validation_top1},
                               {"validation_ci_low", model.validation_ci_low},
                               {"validation_ci_high", model.validation_ci_high},
                               {"screen_latency_ms", model.screen_latency_ms},
                               {"files", std::move(files)},
                               {"tied_with", model.tied_with},
                               {"seeds", std::move(seeds)},
                               {"notes", model.notes}});
  }
  for (const BaselineInfo& baseline : result.baselines) {
    Json rival = nullptr;
    if (!baseline.rival.empty()) {
      rival = {{"id", baseline.rival},
               {"precision", baseline.rival_precision},
               {"speedup", baseline.speedup},
               {"faster", baseline.faster}};
    }
    value["baselines"].push_back({{"name", baseline.name},
                                  {"what", baseline.what},
                                  {"parameters", baseline.parameters},
                                  {"macs", baseline.macs},
                                  {"file", file_value(baseline.file)},
                                  {"no_accuracy", baseline.no_accuracy},
                                  {"rival", std::move(rival)}});
  }
  return value;
}

std::string measurement_json(const MeasurementInfo& measurement) {
  return measurement_value(measurement).dump(2, ' ', false, Json::error_handler_t::replace);
}

std::string front_json(const CampaignResult& result) {
  return front_value(result).dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace finch::controller
