#include "search/unsga3.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <limits>

#include "search/pareto_front.hpp"
#include "search/variation.hpp"

namespace finch::search {
namespace {

constexpr int kTries = 200;

bool feasible(const Outcome& outcome) {
  return outcome.violation <= 0 && outcome.evaluated();
}

void simplex_points(std::size_t objectives, std::size_t left, std::size_t divisions, std::vector<double>& point,
                    std::vector<std::vector<double>>& points) {
  if (point.size() + 1 == objectives) {
    points.push_back(point);
    points.back().push_back(static_cast<double>(left) / static_cast<double>(divisions));
    return;
  }
  for (std::size_t k = 0; k <= left; ++k) {
    point.push_back(static_cast<double>(k) / static_cast<double>(divisions));
    simplex_points(objectives, left - k, divisions, point, points);
    point.pop_back();
  }
}

// Distance of `point` from the line through the origin and `direction`.
double distance_from_line(std::span<const double> point, std::span<const double> direction) {
  double dot = 0, squares = 0, distance = 0;
  for (std::size_t i = 0; i < point.size(); ++i) {
    dot += point[i] * direction[i];
    squares += direction[i] * direction[i];
  }
  for (std::size_t i = 0; i < point.size(); ++i) distance += std::pow(point[i] - dot / squares * direction[i], 2);
  return std::sqrt(distance);
}

}  // namespace

std::vector<std::vector<double>> reference_directions(std::size_t objectives, std::size_t count) {
  std::vector<std::vector<double>> best;
  for (std::size_t divisions = 1;; ++divisions) {
    std::vector<std::vector<double>> points;
    std::vector<double> point;
    simplex_points(objectives, divisions, divisions, point, points);
    if (!best.empty() && (points.size() > count || points.size() == best.size())) return best;
    best = std::move(points);
  }
}

UNsga3::UNsga3(const AlgorithmConfig& config, const SearchSpace& space)
    : config_(config),
      space_(space),
      generator_(config.seed),
      log_(space, config.admissible, config.candidates),
      directions_(reference_directions(config.objectives, config.population)) {}

// Section III: of one niche the better front, then the closer to the direction; of different niches either.
const UNsga3::Individual& UNsga3::tournament() {
  const Individual& a = population_[generator_() % population_.size()];
  const Individual& b = population_[generator_() % population_.size()];
  const bool a_feasible = feasible(a.outcome), b_feasible = feasible(b.outcome);
  if (a_feasible != b_feasible) return a_feasible ? a : b;
  if (!a_feasible) return a.distance <= b.distance ? a : b;
  if (a.niche != b.niche) return a;  // drawn at random, as b was
  if (a.rank != b.rank) return a.rank < b.rank ? a : b;
  return a.distance <= b.distance ? a : b;
}

std::vector<Proposal> UNsga3::ask(std::size_t n) {
  std::vector<Proposal> proposals;
  while (proposals.size() < n) {
    std::optional<Genotype> genotype;
    for (int i = 0; asked_ >= config_.population && !population_.empty() && !genotype && i < kTries; ++i) {
      Genotype child = log_.genotype(tournament().id);
      if (uniform(generator_) < config_.crossover_probability)
        child = crossover(std::move(child), log_.genotype(tournament().id), generator_);
      child = mutate(std::move(child), space_, config_.mutation_probability, generator_);
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
CandidateId UNsga3::adopt(const Genotype& genotype) {
  ++asked_;
  return log_.adopt(genotype);
}

void UNsga3::tell(CandidateId id, const Outcome& outcome) {
  assert(outcome.objectives.empty() || outcome.objectives.size() == config_.objectives);
  log_.tell(id, outcome);
  population_.push_back({.id = id, .outcome = outcome});
  rank_population();
  if (population_.size() > config_.population)
    population_.erase(population_.begin() + static_cast<std::ptrdiff_t>(worst()));
}

// Fronts; normalisation between the ideal point and the worst of the first front (where Deb and Jain take intercepts of
// the extreme points, which are often degenerate for few individuals); the nearest direction.
void UNsga3::rank_population() {
  std::vector<std::size_t> members;
  std::vector<std::vector<double>> points;
  for (std::size_t i = 0; i < population_.size(); ++i) {
    const Outcome& outcome = population_[i].outcome;
    if (feasible(outcome)) {
      members.push_back(i);
      points.push_back(outcome.objectives);
    } else {
      population_[i].rank = population_.size();
      population_[i].distance = outcome.violation > 0 ? outcome.violation : std::numeric_limits<double>::infinity();
    }
  }
  const auto fronts = non_dominated_sort(points);
  if (fronts.empty()) return;
  std::vector<double> low = points[fronts[0][0]], high = low;
  for (const std::size_t k : fronts[0]) {
    for (std::size_t i = 0; i < low.size(); ++i) {
      low[i] = std::min(low[i], points[k][i]);
      high[i] = std::max(high[i], points[k][i]);
    }
  }
  for (std::size_t rank = 0; rank < fronts.size(); ++rank) {
    for (const std::size_t k : fronts[rank]) {
      Individual& individual = population_[members[k]];
      individual.rank = rank;
      individual.distance = std::numeric_limits<double>::infinity();
      std::vector<double> scaled;
      for (std::size_t i = 0; i < low.size(); ++i)
        scaled.push_back(high[i] > low[i] ? (points[k][i] - low[i]) / (high[i] - low[i]) : 0.0);
      for (std::size_t d = 0; d < directions_.size(); ++d) {
        const double distance = distance_from_line(scaled, directions_[d]);
        if (distance < individual.distance) {
          individual.distance = distance;
          individual.niche = d;
        }
      }
    }
  }
}

// Of the last front: the farthest from its direction in the most crowded niche.
std::size_t UNsga3::worst() const {
  std::vector<std::size_t> crowd(directions_.size(), 0);
  std::size_t last = 0;
  for (const Individual& individual : population_) {
    last = std::max(last, individual.rank);
    if (feasible(individual.outcome)) ++crowd[individual.niche];
  }
  std::size_t found = population_.size();
  const auto key = [&](const Individual& individual) {
    const bool counts = feasible(individual.outcome);
    return std::pair(counts ? crowd[individual.niche] : 0, individual.distance);
  };
  for (std::size_t i = 0; i < population_.size(); ++i) {
    if (population_[i].rank != last) continue;
    if (found == population_.size() || key(population_[i]) > key(population_[found])) found = i;
  }
  return found;
}

}  // namespace finch::search
