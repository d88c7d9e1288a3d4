#include <nlohmann/json.hpp>

#include "controller/report/page_template.hpp"
#include "controller/report/report.hpp"
#include "controller/report/report_assets.hpp"
#include "controller/report/report_json.hpp"

namespace finch::controller {
namespace {

using Json = nlohmann::ordered_json;

Json page_value(const CampaignResult& result) {
  Json value = front_value(result);
  value["started"] = result.started;
  value["finished"] = result.finished;
  value["data_hash"] = result.data_hash;
  value["precision"] = result.precision;
  value["config"] = result.config_toml;
  value["reproduce"] = result.reproduce;
  value["teacher"] = {
      {"top1", result.teacher_top1}, {"ci_low", result.teacher_ci_low}, {"ci_high", result.teacher_ci_high}};
  value["reused_results"] = result.reused_results;
  value["device"] = Json::array();
  for (const DeviceFact& fact : result.device) value["device"].push_back({fact.label, fact.value});
  value["stages"] = Json::array();
  for (const StageTime& stage : result.stages) {
    value["stages"].push_back(
        {{"name", stage.name}, {"seconds", stage.seconds}, {"waiting_seconds", stage.waiting_seconds}});
  }
  value["candidates"] = Json::array();
  for (const CandidatePoint& candidate : result.candidates) {
    Json point = {{"id", candidate.id},           {"seconds", candidate.seconds}, {"top1", nullptr},
                  {"latency_ms", nullptr},        {"macs", candidate.macs},       {"parameters", candidate.parameters},
                  {"outcome", candidate.outcome}, {"reused", candidate.reused},   {"estimated", candidate.estimated}};
    if (candidate.validation_top1) point["top1"] = *candidate.validation_top1;
    point["ci_low"] = candidate.validation_ci_low;
    point["ci_high"] = candidate.validation_ci_high;
    if (candidate.latency_ms) point["latency_ms"] = *candidate.latency_ms;
    value["candidates"].push_back(std::move(point));
  }
  return value;
}

}  // namespace

std::string report_html(const CampaignResult& result) {
  // Bytes that are no UTF-8 (from a file name) become U+FFFD instead of an exception.
  return fill_page(report_template(), result.campaign,
                   page_value(result).dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace finch::controller
