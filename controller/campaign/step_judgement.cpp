#include "controller/campaign/step_judgement.hpp"

#include <algorithm>
#include <format>
#include <nlohmann/json.hpp>

#include "controller/campaign/event_messages.hpp"

namespace finch::controller {
namespace {

std::string points(double difference) {
  return std::format("{:.2f} points", 100 * difference);
}

struct Amounts {
  double before = 0, after = 0;
};

Judgement judge_amounts(const char* what, double unit, const char* unit_name, Amounts amounts) {
  const std::string text = std::format("{} {:.4g} {}, before {:.4g} {}", what, amounts.after / unit, unit_name,
                                       amounts.before / unit, unit_name);
  if (amounts.after < amounts.before) return {true, text};
  return {false, "does not pay: " + text};
}

Judgement judge_latency(const protocol::Measurement& measured) {
  if (measured.verdict() == "INVALID") {
    std::string why = "no gain is shown: the measurement is INVALID";
    for (const std::string& reason : measured.reasons()) why += ", " + reason;
    return {false, why};
  }
  if (!measured.has_reference_ratio_ci_low()) return {false, "no gain is shown: the two files were not compared"};
  const std::string text =
      std::format("{:.3f} times the latency (95 % interval {:.3f} to {:.3f})", measured.reference_ratio_median(),
                  measured.reference_ratio_ci_low(), measured.reference_ratio_ci_high());
  if (measured.reference_ratio_ci_high() < 1) return {true, text};
  return {false, "does not pay: " + text};
}

}  // namespace

std::size_t PipelineState::last_kept() const {
  std::size_t last = 0;
  for (std::size_t i = 0; i < steps.size(); ++i)
    if (steps[i].kept) last = i;
  return last;
}

bool PipelineState::done(const PipelineConfig& config) const {
  return steps.size() == config.steps.size() + 1 && steps.back().decided;
}

void PipelineState::apply(const std::string& type, const nlohmann::json& data) {
  if (type == "begun") {
    StepState& step = steps.emplace_back();
    data.at("step").get_to(step.step);
    data.at("base").get_to(step.base);
    return;
  }
  StepState& step = steps.at(data.at("index"));
  if (type == "model") step.model = from_json<protocol::CompressedModel>(data.at("result"));
  if (type == "validated") step.validation = from_json<protocol::Evaluation>(data.at("result"));
  if (type == "tested") step.test = from_json<protocol::Evaluation>(data.at("result"));
  if (type == "measured") step.measurement = from_json<protocol::Measurement>(data.at("result"));
  if (type == "decided") {
    step.decided = true;
    step.kept = data.at("kept");
    step.reason = data.at("reason");
  }
}

Judgement judge(const PipelineConfig& config, const StepConfig& step, const StepState& original, const StepState& base,
                const StepState& changed) {
  const double top1 = changed.validation->top1();
  const double drop = original.validation->top1() - top1;
  // Half an image is rounding.
  const double tolerance = 0.5 / static_cast<double>(std::max<std::int64_t>(1, changed.validation->samples()));
  if (drop > config.max_accuracy_drop + tolerance) {
    return {false,
            std::format("accuracy {:.2f} % is {} below the original's {:.2f} %, more than the {} allowed", 100 * top1,
                        points(drop), 100 * original.validation->top1(), points(config.max_accuracy_drop))};
  }
  const std::string gain = config.gain_of(step);
  if (gain == "accuracy") {
    const double more = top1 - base.validation->top1();
    if (more > tolerance) return {true, std::format("accuracy {:.2f} %, {} more", 100 * top1, points(more))};
    return {false,
            std::format("does not pay: accuracy {:.2f} %, before {:.2f} %", 100 * top1, 100 * base.validation->top1())};
  }
  if (gain == "size") {
    return judge_amounts("the file takes", 1024, "KiB",
                         {static_cast<double>(base.model->file().artifact().size_bytes()),
                          static_cast<double>(changed.model->file().artifact().size_bytes())});
  }
  if (gain == "download") {
    return judge_amounts(
        "through gzip the file takes", 1024, "KiB",
        {static_cast<double>(base.model->compressed_bytes()), static_cast<double>(changed.model->compressed_bytes())});
  }
  if (gain == "memory") {
    return judge_amounts("peak memory", 1 << 20, "MiB",
                         {static_cast<double>(base.measurement->run_peak_bytes()),
                          static_cast<double>(changed.measurement->run_peak_bytes())});
  }
  if (gain == "energy") {
    return judge_amounts("an inference takes", 1, "mJ",
                         {base.measurement->energy_net_mj(), changed.measurement->energy_net_mj()});
  }
  return judge_latency(*changed.measurement);
}

}  // namespace finch::controller
