// What every algorithm remembers: which genotypes were proposed under which id, and what came of them.
// Not thread safe.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <vector>

#include "search/search_algorithm.hpp"

namespace finch::search {

class ProposalLog {
 public:
  ProposalLog(const SearchSpace& space, std::function<bool(const Genotype&)> admissible,
              std::vector<Genotype> candidates = {})
      : space_(space), admissible_(std::move(admissible)), candidates_(std::move(candidates)) {}

  // Neither proposed before nor excluded by a constraint that is known beforehand.
  bool is_new(const Genotype& genotype) const;
  bool proposed(const Genotype& genotype) const { return seen_.contains(genotype); }
  // REQUIRES: is_new(genotype). Its parent is the evaluated genotype that differs in the fewest decisions.
  Proposal propose(const Genotype& genotype);
  // As propose(), of what another search proposed: whatever constraints this one has.
  CandidateId adopt(const Genotype& genotype) { return record(genotype); }
  // REQUIRES: id was proposed or adopted and not told.
  void tell(CandidateId id, const Outcome& outcome);

  const Genotype& genotype(CandidateId id) const { return genotypes_[id - 1]; }
  // Tries random genotypes until one is new: first over the whole space, then, as constraints forbid above all what is
  // costly, over a part that shrinks towards the smallest network; then the candidates that were named. Nothing after a
  // bounded number of failures.
  std::optional<Genotype> new_random(std::mt19937_64& generator) const;

 private:
  CandidateId record(const Genotype& genotype);

  const SearchSpace& space_;
  std::function<bool(const Genotype&)> admissible_;
  std::vector<Genotype> candidates_;
  std::vector<Genotype> genotypes_;  // by id - 1
  std::set<Genotype> seen_;
  std::set<CandidateId> open_;
  std::vector<CandidateId> evaluated_;
};

}  // namespace finch::search
