// Aging (regularized) evolution (Real et al. 2019, AAAI 33): the oldest dies, not the worst, which keeps a search from
// clinging to lucky measurements. With several objectives the tournament goes to one of the sample that no other of it
// dominates. Asynchronous. Not thread safe.
#pragma once

#include <deque>

#include "search/proposal_log.hpp"

namespace finch::search {

class AgingEvolution : public SearchAlgorithm {
 public:
  AgingEvolution(const AlgorithmConfig& config, const SearchSpace& space)
      : config_(config), space_(space), generator_(config.seed), log_(space, config.admissible, config.candidates) {}
  std::vector<Proposal> ask(std::size_t n) override;
  void tell(CandidateId id, const Outcome& outcome) override;
  CandidateId adopt(const Genotype& genotype) override;

 private:
  struct Individual {
    CandidateId id;
    Outcome outcome;
  };
  const Genotype& tournament();

  const AlgorithmConfig config_;
  const SearchSpace& space_;
  std::mt19937_64 generator_;
  ProposalLog log_;
  std::size_t asked_ = 0;
  std::deque<Individual> population_;  // oldest first
};

}  // namespace finch::search
