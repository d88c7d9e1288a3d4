// NSGA-II (Deb et al. 2002, IEEE TEC 6(2)) in its steady-state, asynchronous form: every answer enters the population
// at once, and a proposal never waits for a generation. Constrained domination as in section VI. Not thread safe.
#pragma once

#include "search/initial_design.hpp"
#include "search/proposal_log.hpp"

namespace finch::search {

class Nsga2 : public SearchAlgorithm {
 public:
  Nsga2(const AlgorithmConfig& config, const SearchSpace& space);
  std::vector<Proposal> ask(std::size_t n) override;
  void tell(CandidateId id, const Outcome& outcome) override;
  CandidateId adopt(const Genotype& genotype) override;

  // Takes in what another algorithm asked for, and what its population then leads to: steady-state NSGA-II as a part.
  void learn(Genotype genotype, const Outcome& outcome);
  bool has_parents() const { return !population_.empty(); }
  Genotype offspring();  // REQUIRES: has_parents()

 private:
  struct Individual {
    Genotype genotype;
    Outcome outcome;
    std::size_t rank = 0;  // 0 is the first front; behind all fronts: what is infeasible or failed
    double crowding = 0;   // of what is infeasible: the negative violation, so that greater is better for all
  };

  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(generator_() % bound); }
  std::optional<Genotype> initial();
  const Individual& tournament();
  void rank_population();

  const AlgorithmConfig config_;
  const SearchSpace& space_;
  std::mt19937_64 generator_;
  ProposalLog log_;
  InitialDesign design_;
  std::size_t initial_ = 0;             // members of the initial design tried so far
  std::vector<Individual> population_;  // best first
};

}  // namespace finch::search
