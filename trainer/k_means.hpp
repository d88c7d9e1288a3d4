// k-means of numbers. Pure function; thread safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace finch::trainer {

// Lloyd 1982, started as k-means++ (Arthur and Vassilvitskii 2007) from the seed, until nothing moves or 100 rounds are
// over. At most `clusters` centroids, ascending and distinct: fewer where there are fewer distinct values, which then
// are the centroids. A value belongs to the nearest. REQUIRES: finite values, at least one; clusters >= 1.
std::vector<float> k_means(std::span<const float> values, std::int64_t clusters, std::uint64_t seed);

// The place of the nearest centroid in `centroids`, the lower of two. REQUIRES: ascending, not empty.
std::size_t nearest(std::span<const float> centroids, float value);

}  // namespace finch::trainer
