// Random search without repetition: the baseline that every algorithm must beat (Li and Talwalkar 2019). Not thread
// safe.
#pragma once

#include "search/proposal_log.hpp"

namespace finch::search {

class RandomSearch : public SearchAlgorithm {
 public:
  RandomSearch(const AlgorithmConfig& config, const SearchSpace& space)
      : generator_(config.seed), log_(space, config.admissible, config.candidates) {}
  std::vector<Proposal> ask(std::size_t n) override;
  void tell(CandidateId id, const Outcome& outcome) override { log_.tell(id, outcome); }
  CandidateId adopt(const Genotype& genotype) override { return log_.adopt(genotype); }

 private:
  std::mt19937_64 generator_;
  ProposalLog log_;
};

}  // namespace finch::search
