// U-NSGA-III (Seada and Deb 2016, IEEE TEC 20(3)): NSGA-III's reference directions (Deb and Jain 2014) keep a front of
// three and more objectives spread, and parents are chosen by a niched tournament. Steady-state and asynchronous as
// Nsga2; constrained domination. Not thread safe.
#pragma once

#include "search/proposal_log.hpp"

namespace finch::search {

class UNsga3 : public SearchAlgorithm {
 public:
  UNsga3(const AlgorithmConfig& config, const SearchSpace& space);
  std::vector<Proposal> ask(std::size_t n) override;
  void tell(CandidateId id, const Outcome& outcome) override;
  CandidateId adopt(const Genotype& genotype) override;

 private:
  struct Individual {
    CandidateId id;
    Outcome outcome;
    std::size_t rank = 0;   // front; behind all fronts: what is infeasible or failed
    std::size_t niche = 0;  // nearest reference direction
    double distance = 0;    // to it; of what is infeasible: the violation
  };
  const Individual& tournament();
  void rank_population();
  std::size_t worst() const;

  const AlgorithmConfig config_;
  const SearchSpace& space_;
  std::mt19937_64 generator_;
  ProposalLog log_;
  std::vector<std::vector<double>> directions_;
  std::size_t asked_ = 0;
  std::vector<Individual> population_;
};

// Das and Dennis 1998: all points of the unit simplex whose coordinates are multiples of 1 / divisions, the most
// divisions that give no more than `count` points. REQUIRES: objectives >= 1, count >= objectives.
std::vector<std::vector<double>> reference_directions(std::size_t objectives, std::size_t count);

}  // namespace finch::search
