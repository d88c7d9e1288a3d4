// Ask/tell: a search algorithm proposes genotypes and learns outcomes; it owns its random generator and never blocks.
// Not thread safe. Deterministic: the same seed and the same sequence of ask and tell calls give the same proposals.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "search/error.hpp"
#include "search/search_space.hpp"

namespace finch::search {

using CandidateId = std::uint64_t;  // 1, 2, 3, ... in the order of asking

struct Proposal {
  CandidateId id = 0;
  Genotype genotype;                  // canonical
  std::optional<CandidateId> parent;  // whose weights a child may inherit; always an id asked before
};

struct Outcome {
  // One value an objective, in the campaign's order, minimised (accuracy is told as error, 100 - top1 %).
  // Empty when the candidate failed or was dropped before it was evaluated.
  std::vector<double> objectives;
  // Sum of relative constraint violations, 0 = feasible (Deb 2002, constrained domination). Failed: infinity.
  double violation = 0.0;

  // Trained to the end; a diverged candidate (an infinite or undefined objective) counts as failed.
  bool evaluated() const {
    return !objectives.empty() && std::ranges::all_of(objectives, [](double value) { return std::isfinite(value); });
  }
};

class SearchAlgorithm {
 public:
  virtual ~SearchAlgorithm() = default;

  // Up to n new proposals, each different from all before it; fewer when a bounded effort finds no more, because the
  // space is exhausted or the constraints reject almost all of it. A later tell may lead to further ones.
  virtual std::vector<Proposal> ask(std::size_t n) = 0;
  // REQUIRES: id was asked, or adopted, and not told.
  virtual void tell(CandidateId id, const Outcome& outcome) = 0;
  // Takes over what another search proposed, as if it had been asked here: the next id is its. REQUIRES: nothing was
  // asked yet, and the genotype is canonical and new.
  virtual CandidateId adopt(const Genotype& genotype) = 0;
};

struct AlgorithmConfig {
  std::string name = "surrogate";  // "surrogate", "nsga2", "unsga3", "aging", "random"
  std::uint64_t seed = 1;
  std::size_t objectives = 2;
  std::size_t population = 16;
  double crossover_probability = 0.9;
  // Mutation changes each decision with this probability; 0 means 1 / number of decisions.
  double mutation_probability = 0.0;
  // A score of the untrained network that `surrogate` may learn from: "none", "synflow".
  std::string proxy = "none";
  // Objectives that are known before any evaluation (parameters, MACs, a measured latency table), by objective; null
  // where it is not known, and shorter than `objectives` where the last are not. Used exactly, never modelled.
  std::vector<std::function<double(const Genotype&)>> known_objectives = {};
  // Constraints that are known before any evaluation (parameters, MACs, memory): false rejects the genotype unasked.
  std::function<bool(const Genotype&)> admissible = {};
  // Where hardly any genotype of a large space is admissible, those that are (canonical): they could not be found.
  std::vector<Genotype> candidates = {};
};

// `space` must outlive the algorithm. Errors: unknown name or proxy (lists the known ones), no objective, population <
// 4, a probability outside [0, 1].
std::expected<std::unique_ptr<SearchAlgorithm>, Error> make_search_algorithm(const AlgorithmConfig& config,
                                                                             const SearchSpace& space);
std::vector<std::string> search_algorithm_names();
std::vector<std::string> proxy_names();

}  // namespace finch::search
