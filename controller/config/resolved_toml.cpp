#include <format>

#include "controller/config/campaign_config.hpp"
#include "controller/config/toml_reader.hpp"

namespace finch::controller {
namespace {

// A double that reads back to the same value and is a TOML float.
std::string number(double value) {
  std::string text = std::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string list_of(const std::vector<std::string>& values) {
  std::string text;
  for (const std::string& value : values) text += (text.empty() ? "" : ", ") + toml_string(value);
  return "[" + text + "]";
}

}  // namespace

std::string resolved_toml(const CampaignConfig& c) {
  std::string text;
  const auto line = [&](const std::string& key, const std::string& value) {
    text += std::format("{} = {}\n", key, value);
  };
  const auto optional = [&](const std::string& key, const std::optional<double>& value) {
    if (value) line(key, number(*value));
  };
  text += "[campaign]\n";
  line("name", toml_string(c.name));
  line("seed", std::to_string(c.seed));
  text += "\n[data]\n";
  line("format", toml_string(c.data.format));
  line("path", toml_string(c.data.path));
  line("validation_samples", std::to_string(c.data.validation_samples));
  line("corrupt", toml_string(c.data.corrupt));
  text += "\n[space]\n";
  if (c.space_file) {
    line("file", toml_string(c.space_file->file.string()));
    line("definition", toml_string(c.space_file->definition));
  } else {
    line("name", toml_string(c.space));
  }
  text += "\n[search]\n";
  line("algorithm", toml_string(c.search.algorithm));
  line("proxy", toml_string(c.search.proxy));
  line("population", std::to_string(c.search.population));
  std::vector<std::string> objectives;
  for (const ObjectiveConfig& objective : c.objectives) objectives.push_back(objective.name);
  line("objectives", list_of(objectives));
  text += "\n[constraints]\n";
  optional("latency_ms", c.constraints.latency_ms);
  optional("parameters", c.constraints.parameters);
  optional("macs", c.constraints.macs);
  optional("memory_mb", c.constraints.memory_mb);
  for (const Metric metric : kMetrics) optional(std::string("min_") + name_of(metric), c.constraints.min(metric));
  text += "\n[budget]\n";
  optional("hours", c.budget.hours);
  if (c.budget.evaluations) line("evaluations", std::to_string(*c.budget.evaluations));
  text += "\n[teacher]\n";
  line("enabled", c.teacher.enabled ? "true" : "false");
  if (c.teacher.torchscript) line("torchscript", toml_string(*c.teacher.torchscript));
  if (c.teacher.onnx) line("onnx", toml_string(*c.teacher.onnx));
  if (c.teacher.from) line("from", toml_string(*c.teacher.from));
  if (!c.teacher.models.empty()) line("models", list_of(c.teacher.models));
  line("epochs", number(c.teacher.epochs));
  line("learning_rate", number(c.teacher.learning_rate));
  if (c.init.from) text += std::format("\n[init]\nfrom = {}\n", toml_string(*c.init.from));
  text += "\n[train]\n";
  line("mode", toml_string(c.train.mode));
  line("trainer", toml_string(c.train.trainer));
  if (c.train.trainer == "command") {
    std::string command;
    for (const std::string& part : c.train.command) command += (command.empty() ? "" : ", ") + toml_string(part);
    line("command", "[" + command + "]");
    line("timeout_minutes", number(c.train.timeout_minutes));
  }
  line("epochs", number(c.train.epochs));
  line("rungs", std::to_string(c.train.rungs));
  line("reduction", number(c.train.reduction));
  line("supernet_epochs", number(c.train.supernet_epochs));
  line("supernet_sampling", toml_string(c.train.supernet_sampling));
  line("finalist_epochs", number(c.train.finalist_epochs));
  line("batch_size", std::to_string(c.train.batch_size));
  line("learning_rate", number(c.train.learning_rate));
  line("weight_decay", number(c.train.weight_decay));
  line("label_smoothing", number(c.train.label_smoothing));
  line("temperature", number(c.train.temperature));
  line("distillation_weight", number(c.train.distillation_weight));
  line("distillation", toml_string(c.train.distillation));
  line("feature_weight", number(c.train.feature_weight));
  line("teacher_view", toml_string(c.train.teacher_view));
  line("class_weights", toml_string(c.train.class_weights));
  line("flip", c.train.flip ? "true" : "false");
  line("crop_padding", std::to_string(c.train.crop_padding));
  line("randaugment_operations", std::to_string(c.train.randaugment_operations));
  line("randaugment_magnitude", number(c.train.randaugment_magnitude));
  line("random_erasing", number(c.train.random_erasing));
  line("mixup", number(c.train.mixup));
  line("cutmix", number(c.train.cutmix));
  line("inherit", c.train.inherit ? "true" : "false");
  line("threads", std::to_string(c.train.threads));
  text += "\n[quantize]\n";
  line("calibration", toml_string(c.quantize.calibration));
  line("calibration_images", std::to_string(c.quantize.calibration_images));
  line("qat_drop", number(c.quantize.qat_drop));
  line("qat_epochs", number(c.quantize.qat_epochs));
  line("mixed_precision", c.quantize.mixed_precision ? "true" : "false");
  text += "\n[finalists]\n";
  line("count", std::to_string(c.finalists.count));
  line("seeds", std::to_string(c.finalists.seeds));
  line("runtimes", list_of(c.finalists.runtimes));
  line("accuracy_tolerance", number(c.finalists.accuracy_tolerance));
  if (const PipelineConfig& pipeline = c.finalists.pipeline; !pipeline.steps.empty()) {
    std::vector<std::string> steps;
    for (const StepConfig& step : pipeline.steps) steps.push_back(step.text());
    line("steps", list_of(steps));
    line("max_accuracy_drop", number(pipeline.max_accuracy_drop));
    line("step_epochs", number(pipeline.epochs));
    if (!pipeline.gain.empty()) line("gain", toml_string(pipeline.gain));
  }
  text += "\n[deploy]\n";
  line("runtime", toml_string(c.deploy.runtime));
  if (!c.deploy.provider.empty()) line("provider", toml_string(c.deploy.provider));
  if (!c.deploy.precision.empty()) line("precision", toml_string(c.deploy.precision));
  line("threads", std::to_string(c.deploy.threads));
  line("batch", std::to_string(c.deploy.batch));
  text += "\n[measure]\n";
  line("search_tier", toml_string(c.measure.search_tier));
  line("finalist_tier", toml_string(c.measure.finalist_tier));
  if (c.measure.rate_hz > 0) line("load", std::format("{{ rate_hz = {} }}", number(c.measure.rate_hz)));
  line("estimate", c.measure.estimate ? "true" : "false");
  line("every_runtime", c.measure.every_runtime ? "true" : "false");
  for (const DeviceConfig& device : c.devices) {
    text += "\n[[device]]\n";
    line("name", toml_string(device.name));
    line("profile", toml_string(device.profile));
    if (device.is_pool()) line("boards", list_of(device.boards));
    if (!device.provider.empty()) line("provider", toml_string(device.provider));
    if (device.threads > 0) line("threads", std::to_string(device.threads));
    optional("latency_ms", device.latency_ms);
    if (!device.measure.empty()) line("measure", toml_of(device.measure));
  }
  for (const BaselineConfig& baseline : c.baselines) {
    text += "\n[[baseline]]\n";
    line("name", toml_string(baseline.name));
    if (baseline.file) {
      line("file", toml_string(*baseline.file));
    } else {
      line("network", toml_string(baseline.network));
      line("width", number(baseline.width));
    }
  }
  return text;
}

}  // namespace finch::controller
