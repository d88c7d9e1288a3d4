#include "controller/bench/predictor_replay.hpp"

#include <algorithm>
#include <cmath>
#include <format>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <random>

#include "controller/bench/table_replay.hpp"
#include "search/latency_predictor.hpp"
#include "search/objective_model.hpp"

namespace finch::controller {
namespace {

// Not std::shuffle: its results differ between standard libraries.
std::vector<std::size_t> shuffled(std::size_t count, std::mt19937_64& generator) {
  std::vector<std::size_t> order(count);
  std::iota(order.begin(), order.end(), std::size_t{0});
  for (std::size_t i = count; i > 1; --i) std::swap(order[i - 1], order[generator() % i]);
  return order;
}

}  // namespace

std::vector<std::string> PredictorReplayConfig::columns() const {
  std::vector<std::string> all = {metric};
  all.insert(all.end(), known.begin(), known.end());
  return all;
}

std::expected<std::vector<PredictorScore>, Error> replay_predictor(const MetricTable& table,
                                                                   const search::SearchSpace& space,
                                                                   const PredictorReplayConfig& config,
                                                                   const std::function<void(double)>& progress,
                                                                   std::stop_token stop) {
  const auto& rows = table.rows();
  const std::size_t most = std::ranges::max(config.samples);
  if (rows.size() < most + 10 || rows.size() < config.known_samples) {
    return std::unexpected(Error{std::format("the table has {} usable rows; {} samples need at least {}", rows.size(),
                                             most, std::max(most + 10, config.known_samples)),
                                 ExitCode::usage});
  }
  for (const MetricTable::Row& row : rows) {
    for (std::size_t i = 0; i < row.values.size(); ++i) {
      if (row.values[i] > 0) continue;
      return std::unexpected(Error{std::format("{} of genotype {} is {}; a cost to predict is positive",
                                               config.columns()[i], search::to_digits(row.genotype), row.values[i]),
                                   ExitCode::usage});
    }
  }
  std::vector<PredictorScore> scores;
  for (const std::size_t count : config.samples) scores.push_back({count, {}, {}});
  for (std::size_t seed = 1; seed <= config.seeds; ++seed) {
    std::mt19937_64 generator(seed);
    std::vector<std::shared_ptr<const search::LatencyPredictor>> known;
    for (std::size_t device = 1; device <= config.known.size(); ++device) {
      auto predictor = std::make_shared<search::LatencyPredictor>(space);
      const auto order = shuffled(rows.size(), generator);
      for (std::size_t i = 0; i < config.known_samples; ++i)
        predictor->add(rows[order[i]].genotype, rows[order[i]].values[device]);
      predictor->fit();
      known.push_back(std::move(predictor));
    }
    const auto order = shuffled(rows.size(), generator);
    const std::size_t tested = std::min(config.tested, rows.size() - most);
    std::vector<search::Genotype> genotypes;
    std::vector<double> measured;
    for (std::size_t i = 0; i < tested; ++i) {
      const MetricTable::Row& row = rows[order[rows.size() - 1 - i]];
      genotypes.push_back(row.genotype);
      measured.push_back(row.values.front());
    }
    for (PredictorScore& score : scores) {
      if (stop.stop_requested()) return std::unexpected(Error{"interrupted", ExitCode::interrupted});
      search::LatencyPredictor predictor(space, known);
      for (std::size_t i = 0; i < score.samples; ++i)
        predictor.add(rows[order[i]].genotype, rows[order[i]].values.front());
      predictor.fit();
      const std::vector<double> predicted = predictor.predict(genotypes);
      double within = 0;
      for (std::size_t i = 0; i < tested; ++i) within += std::abs(predicted[i] / measured[i] - 1) <= 0.1;
      score.rank_correlation.push_back(search::rank_correlation(predicted, measured));
      score.within_tenth.push_back(within / static_cast<double>(tested));
    }
    progress(static_cast<double>(seed) / static_cast<double>(config.seeds));
  }
  return scores;
}

std::string to_text(const std::vector<PredictorScore>& scores, const PredictorReplayConfig& config) {
  std::string known;
  for (const std::string& device : config.known) known += (known.empty() ? "" : ", ") + device;
  std::string text = std::format(
      "{}, predicted for networks not seen; {} seeds: median (quartiles)\nknown beforehand: {}\n\n{:>8} {:>28} "
      "{:>24}\n",
      config.metric, config.seeds,
      known.empty() ? "nothing" : std::format("{} ({} samples each)", known, config.known_samples), "samples",
      "rank correlation (Spearman)", "within 10 %");
  for (const PredictorScore& score : scores) {
    const Quartiles rank = quartiles(score.rank_correlation), within = quartiles(score.within_tenth);
    text += std::format("{:>8} {:>10.3f} ({:.3f} - {:.3f}) {:>12.1f} % ({:.1f} - {:.1f})\n", score.samples, rank.median,
                        rank.low, rank.high, 100 * within.median, 100 * within.low, 100 * within.high);
  }
  return text;
}

std::string to_json(const std::vector<PredictorScore>& scores, const PredictorReplayConfig& config) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  const auto summary = [](const std::vector<double>& values) {
    const Quartiles q = quartiles(values);
    return nlohmann::ordered_json{{"low", q.low}, {"median", q.median}, {"high", q.high}};
  };
  for (const PredictorScore& score : scores) {
    rows.push_back({{"samples", score.samples},
                    {"rank_correlation", summary(score.rank_correlation)},
                    {"within_tenth", summary(score.within_tenth)}});
  }
  const nlohmann::ordered_json all = {{"metric", config.metric},
                                      {"known", config.known},
                                      {"known_samples", config.known_samples},
                                      {"seeds", config.seeds},
                                      {"scores", rows}};
  return all.dump(2) + "\n";
}

}  // namespace finch::controller
