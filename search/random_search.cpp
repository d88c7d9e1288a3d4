#include "search/random_search.hpp"

namespace finch::search {

std::vector<Proposal> RandomSearch::ask(std::size_t n) {
  std::vector<Proposal> proposals;
  while (proposals.size() < n) {
    const auto genotype = log_.new_random(generator_);
    if (!genotype) break;
    proposals.push_back(log_.propose(*genotype));
  }
  return proposals;
}

}  // namespace finch::search
