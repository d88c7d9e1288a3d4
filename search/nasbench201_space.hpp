// The nasbench201 space (Dong and Yang 2020): one cell of three nodes after its input, six edges with one of five
// operations each, repeated through a fixed skeleton. 15,625 genotypes, of which 5,425 differ in what they compute.
#pragma once

#include <expected>
#include <memory>

#include "search/search_space.hpp"

namespace finch::search {

// The decisions are the edges in the order of the benchmark's own strings, |e0~0|+|e1~0|e2~1|+|e3~0|e4~1|e5~2|.
// canonical(): dead edges are removed, a node that does nothing but pass on one input, or hand its sum to one other
// node, is merged with it, and the two inner nodes are interchangeable. Of all genotypes that leave the same graph the
// canonical one has the fewest operations, and of these it is the first in lexicographic order.
// decode() gives the network of the canonical genotype; a cell in which no path joins input and output is an error of
// its own: such a candidate is rejected before it is proposed.
// Errors: an image smaller than 8 or greater than 512 pixels, not square, no channels, fewer than 2 classes.
std::expected<std::unique_ptr<SearchSpace>, Error> make_nasbench201_space(const SpaceConfig& config);

}  // namespace finch::search
