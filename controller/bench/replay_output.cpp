// What a replay prints.
#include <cmath>
#include <format>
#include <nlohmann/json.hpp>

#include "controller/bench/table_replay.hpp"

namespace finch::controller {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMarks[] = {0.90, 0.95, 0.98, 0.99};

// 1, 2, 5, 10, ... and the last.
std::vector<std::size_t> checkpoints(std::size_t evaluations) {
  std::vector<std::size_t> all;
  for (std::size_t decade = 10; decade <= evaluations; decade *= 10) {
    for (const std::size_t step : {1, 2, 5}) {
      if (decade * step < evaluations) all.push_back(decade * step);
    }
  }
  all.push_back(evaluations);
  return all;
}

std::string count(double value) {
  return std::isinf(value) ? "-" : std::format("{:.0f}", value);
}

Json count_json(double value) {
  return std::isinf(value) ? Json(nullptr) : Json(static_cast<std::int64_t>(value));
}

std::size_t evaluated(const Replay& replay) {
  std::size_t sum = 0;
  for (const auto& run : replay.runs) sum += run.size();
  return sum;
}

}  // namespace

std::string to_jsonl(const Replay& replay, const ReplayConfig& config) {
  const std::vector<std::string> columns = config.columns();
  std::string text;
  for (std::size_t seed = 1; seed <= replay.runs.size(); ++seed) {
    const auto& run = replay.runs[seed - 1];
    for (std::size_t i = 0; i < run.size(); ++i) {
      Json values = Json::object();
      for (std::size_t k = 0; k < columns.size(); ++k) values[columns[k]] = run[i].values[k];
      text +=
          Json{{"seed", seed}, {"index", i + 1}, {"genotype", search::to_digits(run[i].genotype)}, {"values", values}}
              .dump();
      text += '\n';
    }
  }
  return text;
}

std::string to_text(const Replay& replay, const ReplayConfig& config) {
  std::string text = std::format("{} rows, {} different networks; true hypervolume {:.6g} up to", replay.rows,
                                 replay.networks, replay.true_hypervolume);
  for (const double value : replay.reference) text += std::format(" {:.6g}", value);
  text += std::format("\n{}, {} evaluations, {} seeds\n\n", config.algorithm, config.evaluations, config.seeds);
  text += std::format("{:<28} {:>8} {:>8} {:>8} {:>8}\n", "hypervolume, % of the true", "quartile", "median",
                      "quartile", "worst");
  for (const std::size_t evaluations : checkpoints(config.evaluations)) {
    const Quartiles share = hypervolume_after(replay, evaluations);
    text +=
        std::format("{:<28} {:>8.2f} {:>8.2f} {:>8.2f} {:>8.2f}\n", std::format("after {} evaluations", evaluations),
                    100 * share.low, 100 * share.median, 100 * share.high, 100 * share.worst);
  }
  text += std::format("\n{:<28} {:>8} {:>8} {:>8} {:>8}\n", "evaluations", "quartile", "median", "quartile", "worst");
  for (const double mark : kMarks) {
    const Quartiles needed = evaluations_to(replay, mark);
    text += std::format("{:<28} {:>8} {:>8} {:>8} {:>8}\n", std::format("to {:.0f} %", 100 * mark), count(needed.low),
                        count(needed.median), count(needed.high), count(needed.worst));
  }
  text += std::format("\nask and tell: {:.2f} ms an evaluation\n",
                      1e3 * replay.seconds / static_cast<double>(std::max<std::size_t>(1, evaluated(replay))));
  return text;
}

std::string to_json(const Replay& replay, const ReplayConfig& config) {
  Json curve = Json::array(), marks = Json::array();
  for (std::size_t evaluations = 1; evaluations <= config.evaluations; ++evaluations) {
    const Quartiles share = hypervolume_after(replay, evaluations);
    curve.push_back({{"evaluations", evaluations},
                     {"low", share.low},
                     {"median", share.median},
                     {"high", share.high},
                     {"worst", share.worst}});
  }
  for (const double mark : kMarks) {
    const Quartiles needed = evaluations_to(replay, mark);
    marks.push_back({{"share", mark},
                     {"low", count_json(needed.low)},
                     {"median", count_json(needed.median)},
                     {"high", count_json(needed.high)},
                     {"worst", count_json(needed.worst)}});
  }
  const Json all = {
      {"algorithm", config.algorithm},
      {"seeds", config.seeds},
      {"evaluations", config.evaluations},
      {"maximize", config.maximize},
      {"minimize", config.minimize},
      {"cheap", config.cheap},
      {"reference", replay.reference},
      {"true_hypervolume", replay.true_hypervolume},
      {"rows", replay.rows},
      {"networks", replay.networks},
      {"seconds_an_evaluation", replay.seconds / static_cast<double>(std::max<std::size_t>(1, evaluated(replay)))},
      {"evaluations_to", marks},
      {"hypervolume", curve}};
  return all.dump(2) + "\n";
}

}  // namespace finch::controller
