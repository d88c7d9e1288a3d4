// A latency predictor replayed on a table of measurements: how well it predicts after how many samples. Pure but for
// `progress`.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "controller/bench/metric_table.hpp"
#include "controller/error.hpp"
#include "search/search_space.hpp"

namespace finch::controller {

struct PredictorReplayConfig {
  std::string metric;              // column to predict, all values > 0
  std::vector<std::string> known;  // columns of devices that are known already
  std::size_t known_samples = 600;
  std::vector<std::size_t> samples = {10, 20, 50, 100, 200};
  std::size_t seeds = 31;
  std::size_t tested = 1500;  // rows that no predictor of the seed has seen

  std::vector<std::string> columns() const;  // the metric, then the known ones
};

struct PredictorScore {
  std::size_t samples = 0;
  std::vector<double> rank_correlation, within_tenth;  // by seed
};

// Errors: a table too small, a value that is not positive; interrupted.
std::expected<std::vector<PredictorScore>, Error> replay_predictor(const MetricTable& table,
                                                                   const search::SearchSpace& space,
                                                                   const PredictorReplayConfig& config,
                                                                   const std::function<void(double)>& progress,
                                                                   std::stop_token stop);

std::string to_text(const std::vector<PredictorScore>& scores, const PredictorReplayConfig& config);
std::string to_json(const std::vector<PredictorScore>& scores, const PredictorReplayConfig& config);

}  // namespace finch::controller
