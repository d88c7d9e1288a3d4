// Expected hypervolume improvement of candidates whose objectives are independent random variables (Emmerich 2006; by
// boxes as in Daulton 2020, qEHVI). Any number of objectives, all minimised. Immutable; safe to share between threads.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace finch::search {

class ExpectedImprovement {
 public:
  // The part of objective space that `front` does not dominate, up to `reference_point`, as disjoint boxes: k + 1 for
  // two objectives, O(k^(m-1)) for m.
  ExpectedImprovement(std::span<const std::vector<double>> front, std::span<const double> reference_point);

  // `samples[i]`: equally likely values of objective i; one where it is known exactly.
  double operator()(std::span<const std::span<const double>> samples) const;
  // The improvement by a point that is known.
  double of_point(std::span<const double> point) const;

 private:
  struct Box {
    std::vector<std::size_t> lower, upper;  // per objective, indices into its bounds
  };
  std::vector<std::vector<double>> bounds_;  // per objective, ascending; the first is minus infinity
  std::vector<Box> boxes_;
};

}  // namespace finch::search
