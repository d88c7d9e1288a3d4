#include "controller/compression/compression_report.hpp"

#include <algorithm>
#include <format>
#include <iterator>
#include <nlohmann/json.hpp>

#include "controller/campaign/accuracy_statistics.hpp"
#include "controller/campaign/campaign_state.hpp"
#include "controller/campaign/quantizing.hpp"
#include "controller/report/page_template.hpp"
#include "controller/report/report.hpp"
#include "controller/report/report_assets.hpp"
#include "controller/report/report_json.hpp"

namespace finch::controller {
namespace {

using Json = nlohmann::ordered_json;

Json file_value(const CompressionState& state, std::size_t index) {
  const protocol::CompressedModel& model = *state.pipeline.steps[index].model;
  return {{"path", "models/" + step_file_name(state, index)},
          {"precision", model.file().precision()},
          {"sha256", model.file().artifact().sha256()},
          {"size_bytes", model.file().artifact().size_bytes()},
          {"compressed_bytes", model.compressed_bytes()}};
}

std::vector<std::string> notes_of(const StepState& step) {
  std::vector<std::string> notes(step.model->notes().begin(), step.model->notes().end());
  if (step.model->has_quantization() && step.validation)
    std::ranges::move(quantization_notes(step.model->quantization(), *step.validation), std::back_inserter(notes));
  return notes;
}

Json accuracy_value(const std::optional<protocol::Evaluation>& validation,
                    const std::optional<protocol::Evaluation>& test) {
  Json value;
  const auto put = [&value](const std::optional<protocol::Evaluation>& of, const std::string& name,
                            const std::string& prefix) {
    const bool any = of && of->samples() > 0;
    const Interval interval =
        any ? wilson_interval(of->top1() * static_cast<double>(of->samples()), of->samples()) : Interval{};
    value[name] = any ? Json(of->top1()) : Json();
    value[prefix + "samples"] = any ? of->samples() : 0;
    value[prefix + "ci_low"] = any ? Json(interval.low) : Json();
    value[prefix + "ci_high"] = any ? Json(interval.high) : Json();
  };
  put(validation, "validation", "");
  put(test, "test", "test_");
  return value;
}

Json step_value(const CompressionState& state, std::size_t index) {
  const StepState& step = state.pipeline.steps[index];
  Json value = {{"step", step.step},
                {"base", step.base},
                {"kept", step.kept},
                {"reason", step.reason},
                {"file", nullptr},
                {"parameters", 0},
                {"macs", 0},
                {"accuracy", nullptr},
                {"measurement", nullptr},
                {"latency_ratio", nullptr},
                {"notes", Json::array()}};
  value["accuracy"] = accuracy_value(step.validation, step.test);
  if (step.model) {
    value["file"] = file_value(state, index);
    value["parameters"] = step.model->parameters();
    value["macs"] = step.model->macs();
    value["notes"] = notes_of(step);
  }
  if (step.measurement) {
    MeasurementInfo info = measurement_info(*step.measurement);
    if (info.raw) info.raw = "raw/" + step_file_name(state, index) + ".f64";
    value["measurement"] = measurement_value(info);
    if (index > 0 && step.measurement->has_reference_ratio_ci_low()) {
      value["latency_ratio"] = {{"median", step.measurement->reference_ratio_median()},
                                {"ci_low", step.measurement->reference_ratio_ci_low()},
                                {"ci_high", step.measurement->reference_ratio_ci_high()}};
    }
  }
  return value;
}

Json value_of(const CompressionState& state) {
  Json value = {{"format", 1},
                {"model", state.config.origin},
                {"data", state.config.data.path},
                {"device", state.config.device},
                {"max_accuracy_drop", state.config.pipeline.max_accuracy_drop},
                {"status", state.finished.empty() ? "running" : "finished"},
                {"result", state.pipeline.last_kept()},
                {"steps", Json::array()}};
  for (std::size_t i = 0; i < state.pipeline.steps.size(); ++i) value["steps"].push_back(step_value(state, i));
  return value;
}

std::string dump(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

std::string step_file_name(const CompressionState& state, std::size_t index) {
  const StepState& step = state.pipeline.steps[index];
  return std::format("{}-{}-{}.onnx", index, step.step.substr(0, step.step.find('=')), step.model->file().precision());
}

std::string compression_json(const CompressionState& state) {
  return dump(value_of(state), 2) + "\n";
}

std::string compression_text(const CompressionState& state) {
  std::string text = std::format("{:<16} {:<7} {:>10} {:>10} {:>11} {:>24} {:>10} {:>10}  {}\n", "step", "outcome",
                                 "validation", "test", "median", "95 % interval", "file", "packed", "why");
  for (std::size_t i = 0; i < state.pipeline.steps.size(); ++i) {
    const StepState& step = state.pipeline.steps[i];
    const auto percent = [](const std::optional<protocol::Evaluation>& evaluation) {
      return evaluation ? std::format("{:.2f} %", 100 * evaluation->top1()) : "-";
    };
    const auto size = [](std::int64_t bytes) { return std::format("{:.1f} KiB", static_cast<double>(bytes) / 1024); };
    std::string latency = "-", interval = "-", file = "-", packed = "-";
    if (step.measurement) {
      latency = std::format("{:.4f} ms", step.measurement->latency_median_ms());
      interval = std::format("{:.4f} .. {:.4f} ms", step.measurement->latency_ci_low_ms(),
                             step.measurement->latency_ci_high_ms());
    }
    if (step.model) {
      file = size(step.model->file().artifact().size_bytes());
      packed = size(step.model->compressed_bytes());
    }
    text += std::format("{:<16} {:<7} {:>10} {:>10} {:>11} {:>24} {:>10} {:>10}  {}\n",
                        std::format("{} {}", i, step.step), step.kept ? "kept" : "undone", percent(step.validation),
                        percent(step.test), latency, interval, file, packed, step.reason);
    if (step.model)
      for (const std::string& note : notes_of(step)) text += "  " + note + "\n";
  }
  return text;
}

std::string compression_html(const CompressionState& state) {
  return fill_page(compression_template(), state.config.origin, dump(value_of(state), -1));
}

std::expected<void, Error> write_compression_report(const CompressionState& state,
                                                    const std::filesystem::path& folder) {
  return write_atomically(folder / "compression.json", compression_json(state)).and_then([&] {
    return write_atomically(folder / "report.html", compression_html(state));
  });
}

}  // namespace finch::controller
