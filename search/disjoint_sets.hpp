// Disjoint sets of the numbers 0 .. size - 1 (Tarjan 1975), with path halving. Not thread safe.
#pragma once

#include <cstddef>
#include <numeric>
#include <vector>

namespace finch::search {

class DisjointSets {
 public:
  explicit DisjointSets(std::size_t size) : parent_(size) { std::iota(parent_.begin(), parent_.end(), 0U); }

  // The same number for all members of a set.
  std::size_t find(std::size_t item) {
    while (parent_[item] != item) item = parent_[item] = parent_[parent_[item]];
    return item;
  }
  void unite(std::size_t a, std::size_t b) { parent_[find(b)] = find(a); }

 private:
  std::vector<std::size_t> parent_;
};

}  // namespace finch::search
