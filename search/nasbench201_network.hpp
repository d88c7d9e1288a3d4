// A cell of the nasbench201 space as a network: the skeleton around it. Pure function.
#pragma once

#include <expected>

#include "search/search_space.hpp"

namespace finch::search {

// The benchmark's skeleton (Dong and Yang 2020): a 3x3 stem to 16 channels, three stages of cells with 16, 32 and 64
// channels, a residual block with stride 2 between them, pooling, classifier. It differs from the benchmark in
// this: a stage has one cell and not five, which is what small images and devices ask for; no BatchNorm stands between
// the last cell and the pooling; and the 1x1 convolution of a residual block's shortcut has a bias. A 1x1 or 3x3
// convolution of a cell is ReLU, convolution, BatchNorm. `cell`: six digits in the order of the space's decisions, no
// dead edges (a canonical genotype). Errors: no path joins the cell's input and output.
std::expected<Network, Error> nasbench201_network(const TensorShape& image, std::int64_t classes, const Genotype& cell);

}  // namespace finch::search
