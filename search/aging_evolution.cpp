#include "search/aging_evolution.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "search/pareto_front.hpp"
#include "search/variation.hpp"

namespace finch::search {
namespace {

constexpr int kTries = 200;

// Constrained domination (Deb 2002): feasible before infeasible, less violation before more.
bool better(const Outcome& a, const Outcome& b) {
  const bool a_feasible = a.violation <= 0 && a.evaluated(), b_feasible = b.violation <= 0 && b.evaluated();
  if (a_feasible != b_feasible) return a_feasible;
  if (a_feasible) return dominates(a.objectives, b.objectives);
  return a.violation > 0 && (b.violation <= 0 || a.violation < b.violation);
}

}  // namespace

const Genotype& AgingEvolution::tournament() {
  // A quarter of the population, as in the paper (25 of 100).
  const std::size_t size = std::max<std::size_t>(2, config_.population / 4);
  std::vector<const Individual*> sample;
  for (std::size_t i = 0; i < size; ++i) sample.push_back(&population_[generator_() % population_.size()]);
  std::vector<const Individual*> best;
  for (const Individual* one : sample) {
    if (std::ranges::none_of(sample, [&](const Individual* other) { return better(other->outcome, one->outcome); }))
      best.push_back(one);
  }
  return log_.genotype(best[generator_() % best.size()]->id);
}

std::vector<Proposal> AgingEvolution::ask(std::size_t n) {
  std::vector<Proposal> proposals;
  while (proposals.size() < n) {
    std::optional<Genotype> genotype;
    for (int i = 0; asked_ >= config_.population && !population_.empty() && !genotype && i < kTries; ++i) {
      Genotype child = mutate(tournament(), space_, config_.mutation_probability, generator_);
      if (log_.is_new(child)) genotype = std::move(child);
    }
    if (!genotype) genotype = log_.new_random(generator_);
    if (!genotype) break;
    ++asked_;
    proposals.push_back(log_.propose(*genotype));
  }
  return proposals;
}

// What is adopted stands in for as much of the initial population.
CandidateId AgingEvolution::adopt(const Genotype& genotype) {
  ++asked_;
  return log_.adopt(genotype);
}

void AgingEvolution::tell(CandidateId id, const Outcome& outcome) {
  assert(outcome.objectives.empty() || outcome.objectives.size() == config_.objectives);
  log_.tell(id, outcome);
  population_.push_back({id, outcome});
  if (population_.size() > config_.population) population_.pop_front();
}

}  // namespace finch::search
