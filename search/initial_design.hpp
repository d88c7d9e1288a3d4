// Where a search begins: the smallest and the largest network and some in between, evenly spread over the logarithm of
// their cost. Uniform genotypes of many decisions all cost about the same, and a search of few evaluations lives on
// these. Not thread safe.
#pragma once

#include <functional>
#include <optional>
#include <random>

#include "search/search_space.hpp"

namespace finch::search {

// Canonical, every decision near one common level of its choices, 0..1: small networks are small in all respects, large
// ones in all.
Genotype near_level(const SearchSpace& space, double level, std::mt19937_64& generator);

class InitialDesign {
 public:
  // `space` must outlive the design. `is_new`: neither tried before nor excluded by a constraint.
  InitialDesign(const SearchSpace& space, std::function<bool(const Genotype&)> is_new)
      : space_(space), is_new_(std::move(is_new)) {}

  // The next member, canonical; nothing when a bounded effort finds none at its place: the one after may be found.
  std::optional<Genotype> next(std::mt19937_64& generator);
  // A member came from elsewhere.
  void skip() { ++index_; }

 private:
  // Logarithm of the MACs (of the position between smallest and largest where the network has none).
  double cost(const Genotype& genotype) const;
  // The largest cost that the constraints admit, sought once.
  double greatest_cost(std::mt19937_64& generator);

  const SearchSpace& space_;
  std::function<bool(const Genotype&)> is_new_;
  std::size_t index_ = 0;
  std::optional<double> greatest_;
};

}  // namespace finch::search
