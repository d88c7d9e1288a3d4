#include "controller/bench/table_replay.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <format>
#include <limits>
#include <mutex>
#include <set>
#include <thread>

#include "controller/config/toml_reader.hpp"
#include "search/pareto_front.hpp"
#include "search/search_algorithm.hpp"

namespace finch::controller {
namespace {

// Everything is minimised; what is to be maximised is told as error.
std::vector<double> objectives(const ReplayConfig& config, const std::vector<double>& values) {
  std::vector<double> result = values;
  for (std::size_t i = 0; i < config.maximize.size(); ++i) result[i] = 100 - values[i];
  return result;
}

double hypervolume(const search::ParetoFront& front, const std::vector<double>& reference) {
  std::vector<std::vector<double>> points;
  for (const search::ArchiveEntry& entry : front.entries()) points.push_back(entry.objectives);
  return search::hypervolume(points, reference);
}

search::AlgorithmConfig settings(const MetricTable& table, const ReplayConfig& config, std::size_t seed) {
  const std::vector<std::string> columns = config.columns();
  search::AlgorithmConfig result;
  result.name = config.algorithm;
  result.proxy = config.proxy;
  result.seed = seed;
  result.objectives = columns.size();
  result.population = config.population;
  result.admissible = [&table](const search::Genotype& genotype) { return table.find(genotype) != nullptr; };
  result.candidates = table.networks();
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (std::ranges::find(config.cheap, columns[i]) == config.cheap.end()) {
      result.known_objectives.emplace_back();
    } else {
      result.known_objectives.emplace_back([&table, &config, i](const search::Genotype& genotype) {
        const auto* row = table.find(genotype);
        return row == nullptr ? std::numeric_limits<double>::max() : objectives(config, row->values)[i];
      });
    }
  }
  return result;
}

struct Shared {
  const MetricTable& table;
  const search::SearchSpace& space;
  const ReplayConfig& config;
  const std::function<void(double)>& progress;
  std::stop_token stop;
  Replay& replay;
  std::mutex mutex = {};
  std::size_t done = 0;  // evaluations

  std::expected<void, Error> run(std::size_t seed) {
    auto algorithm = search::make_search_algorithm(settings(table, config, seed), space);
    if (!algorithm) return std::unexpected(Error{algorithm.error().message, ExitCode::usage});
    search::ParetoFront front;
    std::vector<Evaluation> evaluations;
    std::chrono::steady_clock::duration spent{};
    const auto timed = [&](auto call) {
      const auto begin = std::chrono::steady_clock::now();
      call();
      spent += std::chrono::steady_clock::now() - begin;
    };
    while (evaluations.size() < config.evaluations) {
      if (stop.stop_requested()) return std::unexpected(Error{"interrupted", ExitCode::interrupted});
      std::vector<search::Proposal> proposals;
      timed([&] { proposals = (*algorithm)->ask(1); });
      if (proposals.empty()) break;
      const search::Proposal& proposal = proposals.front();
      const std::vector<double>& values = table.find(proposal.genotype)->values;
      const std::vector<double> told = objectives(config, values);
      timed([&] { (*algorithm)->tell(proposal.id, {.objectives = told}); });
      const bool better = front.insert({proposal.id, told});
      const double volume =
          better ? hypervolume(front, replay.reference) / replay.true_hypervolume : evaluations.back().hypervolume;
      evaluations.push_back({proposal.genotype, values, volume});
      const std::lock_guard lock(mutex);
      progress(static_cast<double>(++done) / static_cast<double>(config.seeds * config.evaluations));
    }
    const std::lock_guard lock(mutex);
    replay.runs[seed - 1] = std::move(evaluations);
    replay.seconds += std::chrono::duration<double>(spent).count();
    return {};
  }
};

}  // namespace

std::vector<std::string> ReplayConfig::columns() const {
  std::vector<std::string> all = maximize;
  all.insert(all.end(), minimize.begin(), minimize.end());
  return all;
}

std::expected<Replay, Error> replay_on_table(const MetricTable& table, const search::SearchSpace& space,
                                             const ReplayConfig& config, const std::function<void(double)>& progress,
                                             std::stop_token stop) {
  const std::size_t count = config.columns().size();
  search::ParetoFront front;
  std::set<search::Genotype> networks;
  for (const MetricTable::Row& row : table.rows()) {
    front.insert({1, objectives(config, row.values)});
    networks.insert(space.canonical(row.genotype));
  }
  Replay replay;
  replay.rows = table.rows().size();
  replay.networks = networks.size();
  replay.reference = config.reference;
  if (replay.reference.empty()) {
    replay.reference.assign(count, -std::numeric_limits<double>::infinity());
    for (const search::ArchiveEntry& entry : front.entries()) {
      for (std::size_t i = 0; i < count; ++i)
        replay.reference[i] = std::max(replay.reference[i], entry.objectives[i] + 0.1 * std::abs(entry.objectives[i]));
    }
  }
  if (replay.reference.size() != count) {
    return std::unexpected(Error{std::format("--reference has {} values for {} objectives; give one for each, first of "
                                             "--maximize (as errors, 100 - value), then of --minimize",
                                             replay.reference.size(), count),
                                 ExitCode::usage});
  }
  replay.true_hypervolume = hypervolume(front, replay.reference);
  if (!(replay.true_hypervolume > 0)) {
    return std::unexpected(Error{"no row of the table is better than --reference in every objective", ExitCode::usage});
  }
  replay.runs.resize(config.seeds);
  Shared shared{table, space, config, progress, stop, replay};
  std::atomic<std::size_t> next = 1;
  std::optional<Error> failed;
  const auto work = [&] {
    for (std::size_t seed = next++; seed <= config.seeds; seed = next++) {
      if (const auto run = shared.run(seed); !run) {
        const std::lock_guard lock(shared.mutex);
        failed = run.error();
        next = config.seeds + 1;
      }
    }
  };
  {
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < std::min(config.jobs, config.seeds); ++i) others.emplace_back(work);
    work();
  }
  if (failed) return std::unexpected(*failed);
  return replay;
}

Quartiles quartiles(std::vector<double> values) {
  std::ranges::sort(values);
  const auto at = [&](double share) {
    const double rank = std::ceil(share * static_cast<double>(values.size()));
    return values[static_cast<std::size_t>(std::max(rank, 1.0)) - 1];
  };
  return {.low = at(0.25), .median = at(0.5), .high = at(0.75), .worst = values.back()};
}

Quartiles evaluations_to(const Replay& replay, double share) {
  std::vector<double> counts;
  for (const auto& run : replay.runs) {
    const auto reached = std::ranges::find_if(run, [&](const Evaluation& e) { return e.hypervolume >= share; });
    counts.push_back(reached == run.end() ? std::numeric_limits<double>::infinity()
                                          : static_cast<double>(reached - run.begin() + 1));
  }
  return quartiles(counts);
}

Quartiles hypervolume_after(const Replay& replay, std::size_t evaluations) {
  std::vector<double> shares;
  for (const auto& run : replay.runs) {
    shares.push_back(run.empty() || evaluations == 0 ? 0.0 : run[std::min(evaluations, run.size()) - 1].hypervolume);
  }
  Quartiles result = quartiles(shares);
  result.worst = std::ranges::min(shares);
  return result;
}

}  // namespace finch::controller
