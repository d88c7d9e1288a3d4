// A space small enough to enumerate: `decisions` decisions of `choices` choices; where the first one is 0 the last one
// has no effect. Immutable.
#pragma once

#include <format>

#include "search/search_space.hpp"

namespace finch::search {

class ToySpace : public SearchSpace {
 public:
  ToySpace(int decisions, int choices) {
    for (int i = 0; i < decisions; ++i) {
      decisions_.push_back({std::format("decision{}", i), std::vector<std::string>(static_cast<std::size_t>(choices))});
    }
  }
  std::string_view name() const override { return "toy"; }
  std::span<const Decision> decisions() const override { return decisions_; }
  Genotype canonical(const Genotype& genotype) const override {
    Genotype result = genotype;
    if (result.front() == 0) result.back() = 0;
    return result;
  }
  std::expected<Network, Error> decode(const Genotype&) const override {
    return std::unexpected(Error{"a toy has no network"});
  }

 private:
  std::vector<Decision> decisions_;
};

}  // namespace finch::search
