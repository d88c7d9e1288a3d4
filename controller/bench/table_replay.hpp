// Searches replayed on a table of measurements: how many evaluations an algorithm needs for how much of the true
// hypervolume. Pure but for `progress`; safe to call from several threads.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "controller/bench/metric_table.hpp"
#include "controller/error.hpp"
#include "search/search_space.hpp"

namespace finch::controller {

struct ReplayConfig {
  std::vector<std::string> maximize, minimize;  // columns; objectives in this order: 100 - value, then value
  std::vector<std::string> cheap;               // of these, what the algorithm may know of any genotype beforehand
  std::string algorithm = "surrogate";
  std::string proxy = "none";
  std::size_t population = 20;
  std::size_t evaluations = 200;  // distinct genotypes that the algorithm asks for
  std::size_t seeds = 31;         // 1, 2, ...
  std::size_t jobs = 1;           // seeds at once
  std::vector<double> reference;  // one value an objective; empty: the worst of the true front x 1.1

  std::vector<std::string> columns() const;
};

struct Evaluation {
  search::Genotype genotype;
  std::vector<double> values;  // as in the table, by columns()
  double hypervolume = 0;      // of all so far, as a share of the true one
};

struct Replay {
  std::vector<double> reference;
  double true_hypervolume = 0;
  std::size_t rows = 0, networks = 0;         // of the table; of those, how many the space tells apart
  std::vector<std::vector<Evaluation>> runs;  // by seed
  double seconds = 0;                         // of ask and tell, all seeds
};

// Errors: unknown algorithm, a reference of the wrong length, a true hypervolume of nothing; interrupted.
std::expected<Replay, Error> replay_on_table(const MetricTable& table, const search::SearchSpace& space,
                                             const ReplayConfig& config, const std::function<void(double)>& progress,
                                             std::stop_token stop);

struct Quartiles {
  double low = 0, median = 0, high = 0, worst = 0;  // infinity: not reached
};
// Of an odd or even number of values, by nearest rank; `worst` is the greatest. REQUIRES: not empty.
Quartiles quartiles(std::vector<double> values);
// Evaluations until the share of the true hypervolume, over seeds; infinity where a run never reached it.
Quartiles evaluations_to(const Replay& replay, double share);
// Share of the true hypervolume after so many evaluations, over seeds; `worst` is the least.
Quartiles hypervolume_after(const Replay& replay, std::size_t evaluations);

// One line an evaluation: {"seed", "index", "genotype", "values"}.
std::string to_jsonl(const Replay& replay, const ReplayConfig& config);
// The summary for people and for programs.
std::string to_text(const Replay& replay, const ReplayConfig& config);
std::string to_json(const Replay& replay, const ReplayConfig& config);

}  // namespace finch::controller
