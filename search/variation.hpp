// How a genotype comes from others: uniform crossover and mutation. Pure functions but for the generator.
#pragma once

#include <random>

#include "search/search_space.hpp"

namespace finch::search {

// [0, 1). Not std::uniform_real_distribution: its results differ between standard libraries.
double uniform(std::mt19937_64& generator);

// Each decision from either with equal probability.
Genotype crossover(Genotype a, const Genotype& b, std::mt19937_64& generator);

// Changes each decision with `probability` (0: 1 / number of decisions), and one always: a copy would be proposed for
// nothing. Canonical.
Genotype mutate(Genotype genotype, const SearchSpace& space, double probability, std::mt19937_64& generator);

}  // namespace finch::search
