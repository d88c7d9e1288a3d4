#include <algorithm>
#include <format>

#include "controller/report/model_bundle.hpp"

namespace finch::controller {
namespace {

constexpr std::size_t kLargestMatrix = 20;
constexpr std::size_t kWorstPairs = 15;

// A cell of a table: what would end it or begin markup is escaped.
std::string cell(const std::string& text) {
  std::string escaped;
  for (const char character : text) {
    if (std::string_view("|\\`*_<>[]").contains(character)) escaped += '\\';
    escaped += character == '\n' ? ' ' : character;
  }
  return escaped;
}

std::string class_name(const CampaignResult& result, std::int32_t label) {
  const auto i = static_cast<std::size_t>(label);
  return i < result.class_names.size() ? cell(result.class_names[i]) : std::to_string(label);
}

std::string accuracy_section(const Bundle& bundle) {
  const AccuracyInfo& accuracy = *bundle.file->accuracy;
  std::string text = std::format(
      "## Accuracy\n\nOf this very file, over {} images of the {} split, which nothing was trained or chosen by; 95 % "
      "intervals over images like these.\n\n| metric | value | interval |\n|---|---|---|\n| top1 | {:.2f} % | {:.2f} "
      "to {:.2f} % |\n",
      accuracy.samples, accuracy.split, 100 * accuracy.top1, 100 * accuracy.ci_low, 100 * accuracy.ci_high);
  for (const MetricInfo& metric : accuracy.metrics) {
    text += std::format("| {} | {:.2f} % | {:.2f} to {:.2f} % |\n", metric.name, 100 * metric.value,
                        100 * metric.ci_low, 100 * metric.ci_high);
  }
  return text;
}

std::string confusion_section(const Bundle& bundle) {
  const CampaignResult& result = *bundle.result;
  const Confusion& confusion = bundle.file->accuracy->confusion;
  if (confusion.empty()) return "";
  std::string text = "\n## Confusion\n\n";
  if (result.class_names.size() <= kLargestMatrix) {
    text += "Images by class (rows) and the class that they were taken for (columns).\n\n| |";
    for (const std::string& name : result.class_names) text += " " + cell(name) + " |";
    text += "\n|---|";
    for (std::size_t i = 0; i < result.class_names.size(); ++i) text += "---|";
    for (std::int32_t label = 0; label < std::ssize(result.class_names); ++label) {
      text += "\n| " + class_name(result, label) + " |";
      for (std::int32_t told = 0; told < std::ssize(result.class_names); ++told) {
        const auto found = confusion.find({label, told});
        text += std::format(" {} |", found == confusion.end() ? 0 : found->second);
      }
    }
    return text + "\n";
  }
  std::vector<std::pair<std::int64_t, std::pair<std::int32_t, std::int32_t>>> errors;
  for (const auto& [pair, count] : confusion) {
    if (pair.first != pair.second) errors.emplace_back(count, pair);
  }
  std::ranges::sort(errors, std::greater());
  text += "The most frequent errors.\n\n| class | taken for | images |\n|---|---|---|\n";
  for (std::size_t i = 0; i < std::min(errors.size(), kWorstPairs); ++i) {
    const auto& [count, pair] = errors[i];
    text += std::format("| {} | {} | {} |\n", class_name(result, pair.first), class_name(result, pair.second), count);
  }
  return text;
}

std::string latency_section(const Bundle& bundle) {
  std::string text =
      "\n## On devices\n\nMeasured with this file. Energy stands here only where the device can measure it.\n\n| "
      "device "
      "| runtime | threads | median | 95 % interval | p99 | peak memory | energy | verdict |\n"
      "|---|---|---|---|---|---|---|---|---|\n";
  for (const MeasurementInfo& m : bundle.file->measurements) {
    std::string verdict = m.verdict;
    for (const std::string& reason : m.reasons) verdict += "; " + reason;
    text += std::format("| {} | {}, {} | {} | {:.4g} ms | {:.4g} to {:.4g} ms | {} | {:.1f} MiB | {} | {} |\n",
                        cell(m.device), cell(m.runtime), m.deploy.provider, m.deploy.threads, m.median_ms, m.ci_low_ms,
                        m.ci_high_ms, m.p99_ms > 0 ? std::format("{:.4g} ms", m.p99_ms) : "too few runs",
                        static_cast<double>(m.run_peak_bytes) / (1 << 20),
                        m.energy ? std::format("{:.3g} mJ net ({})", m.energy->net_mj, m.energy->provenance) : "–",
                        cell(verdict));
  }
  return text;
}

}  // namespace

std::string model_card(const Bundle& bundle) {
  const CampaignResult& result = *bundle.result;
  const FrontModel& model = *bundle.model;
  const ModelFile& file = *bundle.file;
  const bool tflite = is_tflite(file);
  std::string genotype;
  for (const int choice : model.genotype) genotype += (genotype.empty() ? "" : " ") + std::to_string(choice);
  std::string text = std::format(
      "# {} of {} ({})\n\nAn image classifier: {} classes, images of {} x {} with {} channel{}. {} parameters, {} "
      "multiply-accumulates an image, {} bytes.\n\nInput `image`: float32 `{}` in [0, 1], normalised "
      "inside "
      "the graph. Output `logits`: `[N, {}]`; labels.txt names them in order.\n\n",
      model.id, cell(result.campaign), file.precision, result.class_names.size(), bundle.width, bundle.height,
      bundle.channels, bundle.channels == 1 ? "" : "s", model.parameters, model.macs, file.size_bytes,
      tflite ? std::format("[N, {}, {}, {}]", bundle.height, bundle.width, bundle.channels)
             : std::format("[N, {}, {}, {}]", bundle.channels, bundle.height, bundle.width),
      result.class_names.size());
  if (!bundle.explanation.empty()) {
    text += "## Why this one\n\n";
    for (const std::string& line : bundle.explanation) text += "- " + cell(line) + "\n";
    text += "\n";
  }
  text += accuracy_section(bundle) + confusion_section(bundle) + latency_section(bundle);
  text += std::format(
      "\n## Data\n\nTraining, validation and test images of one data set, SHA-256 {}. The settings below say where it "
      "lay. What is unlike these images, this model has not seen.\n",
      result.data_hash);
  text += std::format(
      "\n## How it was made\n\nBy Finch {}, campaign \"{}\", seed {}, begun {}: architecture search in the space {}, "
      "genotype {}; fine-tuned{}{}. Again with: `{}`\n",
      result.finch_version, cell(result.campaign), result.seed, result.started, model.space, genotype,
      result.teacher_top1 > 0 ? " with a teacher" : "", file.precision == "fp32" ? "" : ", then " + file.precision,
      result.reproduce);
  for (const std::string& note : model.notes) text += "\n- " + cell(note);
  text += "\n\n<details><summary>Settings</summary>\n\n```toml\n" + result.config_toml + "```\n</details>\n";
  text +=
      "\n## Licence\n\nFinch claims no rights in this model. The licences of the data, and of a teacher or weights "
      "that "
      "it began from, say what it may be used for: name them here before you pass it on.\n";
  text += std::format(
      "\n## Files\n\n- `{}`, SHA-256 {}\n- `labels.txt`\n{}- `image-N.f32`: images of the test split, "
      "little-endian float32; `expected.json`: their logits on {}\n- {} that print label and logits of such files\n",
      tflite ? "model.tflite" : "model.onnx", file.sha256,
      bundle.safetensors
          ? "- `weights.safetensors`: the trained weights in float32, BatchNorm not folded, named by layer\n"
          : "",
      file.measurements.empty() ? "the device" : cell(file.measurements.front().device),
      tflite ? "`run.py`: a minimal program" : "`run.py`, `run.cpp`: minimal programs");
  return text;
}

}  // namespace finch::controller
