#include "search/variation.hpp"

namespace finch::search {

double uniform(std::mt19937_64& generator) {
  return static_cast<double>(generator() >> 11) * 0x1.0p-53;
}

Genotype crossover(Genotype a, const Genotype& b, std::mt19937_64& generator) {
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (generator() % 2 == 0) a[i] = b[i];
  }
  return a;
}

Genotype mutate(Genotype genotype, const SearchSpace& space, double probability, std::mt19937_64& generator) {
  const auto decisions = space.decisions();
  if (probability <= 0) probability = 1.0 / static_cast<double>(decisions.size());
  const auto always = static_cast<std::size_t>(generator() % decisions.size());
  for (std::size_t i = 0; i < genotype.size(); ++i) {
    const std::size_t choices = decisions[i].choices.size();
    if (choices > 1 && (i == always || uniform(generator) < probability)) {
      const std::size_t step = 1 + static_cast<std::size_t>(generator() % (choices - 1));
      genotype[i] = static_cast<int>((static_cast<std::size_t>(genotype[i]) + step) % choices);
    }
  }
  return space.canonical(genotype);
}

}  // namespace finch::search
