// A small campaign's result, for the tests of everything that prints one.
#pragma once

#include <cmath>
#include <format>

#include "controller/campaign/front.hpp"

namespace finch::controller {

inline CampaignResult sample_result() {
  CampaignResult result;
  result.campaign = "sample </script> & co";
  result.seed = 7;
  result.finch_version = "0.1.0";
  result.started = "2026-01-02T03:04:05Z";
  result.finished = "2026-01-02T03:14:05Z";
  result.status = "finished";
  result.objectives = {{"accuracy", "maximize", "%"}, {"latency", "minimize", "ms"}};
  for (int i = 0; i < 6; ++i) {
    FrontModel model;
    model.id = std::format("c{:03}", i + 1);
    model.space = "mobilenet";
    model.genotype = {i, 1, 2};
    model.parameters = 4000 * (1 << i);
    model.macs = 100'000 * (1 << i);
    model.validation_top1 = 0.85 + 0.01 * i;
    for (const char* precision : {"fp32", "int8"}) {
      const double factor = std::string(precision) == "int8" ? 1.1 - 0.1 * i : 1.0;
      ModelFile file;
      file.path = std::format("models/{}-{}.onnx", model.id, precision);
      file.precision = precision;
      file.sha256 = std::string(64, 'a');
      file.size_bytes = model.parameters * (factor == 1.0 ? 4 : 1);
      file.accuracy =
          AccuracyInfo{.top1 = 0.85 + 0.011 * i - (factor == 1.0 ? 0 : 0.002), .samples = 10000, .split = "test"};
      file.accuracy->ci_low = file.accuracy->top1 - 0.007;
      file.accuracy->ci_high = file.accuracy->top1 + 0.007;
      file.accuracy->metrics = {{"balanced_accuracy", file.accuracy->top1, 0.8, 0.95},
                                {"macro_f1", file.accuracy->top1, 0.8, 0.95},
                                {"worst_class_recall", 0.7, 0.65, 0.75}};
      for (int label = 0; label < 10; ++label) {
        file.accuracy->confusion[{label, label}] = 850 + 10 * i;
        file.accuracy->confusion[{label, (label + 3) % 10}] = 150 - 10 * i;
      }
      MeasurementInfo m;
      m.device = "local";
      m.profile = "local";
      m.runtime = "onnxruntime 1.21.0";
      m.tier = "quick";
      m.deploy = {"onnxruntime", "cpu", precision, 1, 1};
      m.verdict = i == 2 ? "DEGRADED" : "VALID";
      if (i == 2) m.reasons = {"foreign CPU 2.1 %"};
      m.median_ms = 0.05 * std::pow(1.8, i) * factor;
      m.ci_low_ms = m.median_ms * 0.97;
      m.ci_high_ms = m.median_ms * 1.04;
      m.p90_ms = m.median_ms * 1.1;
      m.p99_ms = m.median_ms * 1.5;
      m.runs = 5000;
      m.load_peak_bytes = 30 << 20;
      m.run_peak_bytes = 31 << 20;
      m.artifact_sha256 = file.sha256;
      m.raw = std::format("raw/{}-{}.f64", model.id, precision);
      file.measurements.push_back(m);
      model.files.push_back(file);
    }
    if (i == 2) model.tied_with = {"c004"};
    if (i == 3) model.tied_with = {"c003"};
    if (i == 5) model.seeds = {{7, 0.9, 0.905, true}, {8, 0.91, 0.902, false}, {9, 0.88, 0.899, false}};
    if (i == 0) model.notes = {"int8 does not pay here: 1.10 x the latency of fp32"};
    result.models.push_back(model);
  }
  for (int i = 0; i < 3; ++i) {
    BaselineInfo baseline;
    baseline.name = i == 2 ? "mine <b>.onnx" : std::format("mobilenet_v2 x{}", 0.5 * (i + 1));
    baseline.what = "mobilenet_v2, trained here for 4 epochs";
    baseline.parameters = i == 2 ? 0 : 50'000 * (i + 1);
    baseline.macs = i == 2 ? 0 : 1'600'000 * (i + 1);
    baseline.file = result.models[static_cast<std::size_t>(i + 1)].files.front();
    baseline.file.measurements.front().median_ms *= 1.7;
    baseline.file.measurements.front().ci_low_ms *= 1.7;
    baseline.file.measurements.front().ci_high_ms *= 1.7;
    if (i == 2) baseline.file.accuracy.reset();
    if (i == 2) baseline.no_accuracy = "the model takes 3 x 224 x 224 images";
    if (i < 2) {
      baseline.rival = "c003";
      baseline.rival_precision = "int8";
      baseline.speedup = i == 0 ? 1.9 : 0.8;
      baseline.faster = i == 0;
    }
    result.baselines.push_back(baseline);
  }
  result.headline =
      "With at least the same test accuracy the front is 1.90 x faster than mobilenet_v2 x0.5. Nothing on it beats "
      "mobilenet_v2 x1. No accuracy is known of mine <b>.onnx on these images.";
  for (std::uint64_t i = 1; i <= 14; ++i) {
    CandidatePoint point;
    point.id = i;
    point.seconds = 60.0 + 25.0 * static_cast<double>(i);
    point.latency_ms = 0.05 + 0.05 * static_cast<double>((i * 7) % 13);
    point.parameters = static_cast<std::int64_t>(i) * 9000;
    point.macs = static_cast<std::int64_t>(i) * 300'000;
    point.outcome = i % 5 == 0 ? "too slow" : "evaluated";
    if (i % 5 != 0) point.validation_top1 = 0.8 + 0.08 * std::sqrt(*point.latency_ms);
    result.candidates.push_back(point);
  }
  result.device = {{"device", "local"}, {"CPU", "a processor, 2 cores"}, {"runtime", "onnxruntime 1.21.0"}};
  result.stages = {{"data", 2, 0}, {"teacher", 70, 0}, {"search", 310, 95}, {"finalists", 200, 60}, {"report", 1, 0}};
  result.class_names = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                        "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};
  result.precision = "fp32";
  result.teacher_ci_low = 0.913;
  result.teacher_ci_high = 0.928;
  result.data_hash = std::string(64, 'd');
  result.config_toml = "[campaign]\nname = \"sample\"\n";
  result.reproduce = "scripts/finch run sample.toml --seed 7";
  result.teacher_top1 = 0.921;
  result.notes = {"energy: not measured, no power sensor on local"};
  return result;
}

}  // namespace finch::controller
