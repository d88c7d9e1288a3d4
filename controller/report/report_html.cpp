#include <nlohmann/json.hpp>

#include "controller/report/report.hpp"
#include "controller/report/report_assets.hpp"
#include "controller/report/report_json.hpp"

namespace finch::controller {
namespace {

using Json = nlohmann::ordered_json;

void replace_mark(std::string& page, std::string_view mark, std::string_view text) {
  const std::size_t at = page.find(mark);
  if (at != std::string::npos) page.replace(at, mark.size(), text);
}

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char character : text) {
    switch (character) {
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '&':
        escaped += "&amp;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += character;
    }
  }
  return escaped;
}

// JSON inside <script>: "</script>" in a name must not end the element.
std::string script_safe(std::string json) {
  for (std::size_t at = 0; (at = json.find("</", at)) != std::string::npos; at += 3) json.replace(at, 2, "<\\/");
  return json;
}

Json page_value(const CampaignResult& result) {
  Json value = front_value(result);
  value["started"] = result.started;
  value["finished"] = result.finished;
  value["data_hash"] = result.data_hash;
  value["config"] = result.config_toml;
  value["reproduce"] = result.reproduce;
  value["teacher_top1"] = result.teacher_top1;
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
    if (candidate.latency_ms) point["latency_ms"] = *candidate.latency_ms;
    value["candidates"].push_back(std::move(point));
  }
  return value;
}

}  // namespace

std::string report_html(const CampaignResult& result) {
  std::string page(report_template());
  replace_mark(page, "{{TITLE}}", escape_html(result.campaign));
  replace_mark(page, "{{CHART_JS}}", chart_js());
  // Bytes that are no UTF-8 (from a file name) become U+FFFD instead of an exception.
  replace_mark(page, "{{DATA}}", script_safe(page_value(result).dump(-1, ' ', false, Json::error_handler_t::replace)));
  return page;
}

}  // namespace finch::controller
