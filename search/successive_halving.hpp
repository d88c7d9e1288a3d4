// Which candidates deserve their whole training: asynchronous successive halving (Li et al. 2020, MLSys) in the variant
// that decides at once, never waiting for others, with the order of several objectives that MO-ASHA uses
// (Schmucker et al. 2021): non-dominated fronts, and within one those that stand apart first. Not thread safe.
#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <vector>

#include "search/search_algorithm.hpp"

namespace finch::search {

class SuccessiveHalving {
 public:
  // REQUIRES: rungs >= 1, reduction > 1. With one rung every candidate is trained to the end.
  explicit SuccessiveHalving(std::size_t rungs = 1, double reduction = 3);

  std::size_t rungs() const { return rungs_.size(); }
  // Of the whole training, in (0, 1], what a candidate has had after `rung`: 1/9, 1/3, 1 with three rungs.
  double share(std::size_t rung) const;
  // What a candidate gets on average, when each rung passes on no more than its share.
  double expected_share() const;

  // What a candidate has reached at a rung, objectives minimised. True: it is trained on, being among the first
  // 1 / reduction of those that came here. REQUIRES: a candidate reports a rung once.
  bool report(CandidateId id, std::size_t rung, std::span<const double> objectives);
  // What the first objective, > 0, would likely be at the end, by the median ratio of the candidates that got there.
  double at_the_end(std::size_t rung, double value) const;

 private:
  double reduction_;
  std::vector<std::map<CandidateId, std::vector<double>>> rungs_;
};

}  // namespace finch::search
