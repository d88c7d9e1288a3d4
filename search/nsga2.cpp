#include "search/nsga2.hpp"

#include <algorithm>
#include <cassert>
#include <limits>

#include "search/pareto_front.hpp"
#include "search/variation.hpp"

namespace finch::search {
namespace {

constexpr int kTries = 200;

}  // namespace

Nsga2::Nsga2(const AlgorithmConfig& config, const SearchSpace& space)
    : config_(config),
      space_(space),
      generator_(config.seed),
      log_(space, config.admissible, config.candidates),
      design_(space, [this](const Genotype& genotype) { return log_.is_new(genotype); }) {}

std::optional<Genotype> Nsga2::initial() {
  while (initial_ < config_.population) {
    ++initial_;
    if (auto genotype = design_.next(generator_)) return genotype;
  }
  return std::nullopt;
}

const Nsga2::Individual& Nsga2::tournament() {
  const Individual& a = population_[below(population_.size())];
  const Individual& b = population_[below(population_.size())];
  if (a.rank != b.rank) return a.rank < b.rank ? a : b;
  return a.crowding >= b.crowding ? a : b;
}

Genotype Nsga2::offspring() {
  Genotype child = tournament().genotype;
  if (uniform(generator_) < config_.crossover_probability)
    child = crossover(std::move(child), tournament().genotype, generator_);
  return mutate(std::move(child), space_, config_.mutation_probability, generator_);
}

std::vector<Proposal> Nsga2::ask(std::size_t n) {
  std::vector<Proposal> proposals;
  while (proposals.size() < n) {
    std::optional<Genotype> genotype = initial();
    for (int i = 0; !genotype && !population_.empty() && i < kTries; ++i) {
      Genotype child = offspring();
      if (log_.is_new(child)) genotype = std::move(child);
    }
    if (!genotype) genotype = log_.new_random(generator_);
    if (!genotype) break;
    proposals.push_back(log_.propose(*genotype));
  }
  return proposals;
}

void Nsga2::tell(CandidateId id, const Outcome& outcome) {
  assert(outcome.objectives.empty() || outcome.objectives.size() == config_.objectives);
  log_.tell(id, outcome);
  learn(log_.genotype(id), outcome);
}

void Nsga2::learn(Genotype genotype, const Outcome& outcome) {
  population_.push_back({.genotype = std::move(genotype), .outcome = outcome});
  rank_population();
  if (population_.size() > config_.population) population_.pop_back();
}

// What is adopted stands in for as much of the initial design.
CandidateId Nsga2::adopt(const Genotype& genotype) {
  ++initial_;
  design_.skip();
  return log_.adopt(genotype);
}

// Sorted best first: feasible ones by front and crowding, then the others by violation.
void Nsga2::rank_population() {
  std::vector<std::size_t> feasible;
  std::vector<std::vector<double>> points;
  for (std::size_t i = 0; i < population_.size(); ++i) {
    const Outcome& outcome = population_[i].outcome;
    if (outcome.violation <= 0 && outcome.evaluated()) {
      feasible.push_back(i);
      points.push_back(outcome.objectives);
    } else {
      population_[i].rank = population_.size();
      // What was dropped for its violation tells how far away it was; what failed without one tells nothing.
      population_[i].crowding = outcome.violation > 0 ? -outcome.violation : -std::numeric_limits<double>::infinity();
    }
  }
  const auto fronts = non_dominated_sort(points);
  for (std::size_t rank = 0; rank < fronts.size(); ++rank) {
    std::vector<std::vector<double>> front;
    for (const std::size_t i : fronts[rank]) front.push_back(points[i]);
    const std::vector<double> crowding = crowding_distance(front);
    for (std::size_t k = 0; k < fronts[rank].size(); ++k) {
      Individual& individual = population_[feasible[fronts[rank][k]]];
      individual.rank = rank;
      individual.crowding = crowding[k];
    }
  }
  std::ranges::stable_sort(population_, [](const Individual& a, const Individual& b) {
    return a.rank != b.rank ? a.rank < b.rank : a.crowding > b.crowding;
  });
}

}  // namespace finch::search
