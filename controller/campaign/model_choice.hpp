// One file of a front for somebody's limits, with the reasons. Pure functions; thread safe.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "controller/campaign/front.hpp"
#include "controller/error.hpp"

namespace finch::controller {

struct Limits {
  std::optional<double> latency_ms;    // kept when the whole 95 % interval of the median is below
  std::optional<double> memory_bytes;  // peak while running
  std::optional<double> accuracy;      // 0..1, of the campaign's first objective on the test split
  std::string device;                  // empty: on every device
};

struct ChosenFile {
  const FrontModel* model = nullptr;
  const ModelFile* file = nullptr;

  std::string name() const { return model->id + " " + file->precision + (is_tflite(*file) ? " (tflite)" : ""); }
};

struct ExcludedFile {
  ChosenFile file;
  std::vector<std::string> reasons;  // one for each limit that it breaks
};

struct TiedFile {
  ChosenFile file;
  double p = 1;  // that it differs from the most accurate by chance, adjusted (Holm)
};

struct ModelChoice {
  ChosenFile chosen;
  ChosenFile most_accurate;              // of those that keep the limits
  std::vector<TiedFile> tied;            // with the most accurate, without itself, fastest first
  std::vector<ExcludedFile> excluded;    // in the front's order
  std::vector<std::string> explanation;  // sentences
};

// The fastest of those files that keep the limits and that the test images do not tell from the most accurate of them:
// McNemar's mid-p test on the same images, adjusted for the number of files (Holm), at 5 %. Another metric than top-1
// has no such test here: tied is what lies inside the most accurate one's interval. Points into `result`. Errors: no
// model, no such device (exit code `usage`), nothing keeps the limits (names the nearest).
std::expected<ModelChoice, Error> choose_model(const CampaignResult& result, const Limits& limits);

// The greatest median latency on the devices that count, ms, with the runtime that is fastest on each.
double latency_of(const ModelFile& file, const std::string& device);
// Value and interval of the metric that the campaign optimises first. REQUIRES: tested.
MetricInfo accuracy_of(const CampaignResult& result, const ModelFile& file);

}  // namespace finch::controller
