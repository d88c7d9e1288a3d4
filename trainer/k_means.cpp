#include "trainer/k_means.hpp"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <random>

namespace finch::trainer {
namespace {

constexpr int kRounds = 100;

// Uniform in [0, 1), the same with every standard library.
double uniform(std::mt19937_64& generator) {
  return static_cast<double>(generator() >> 11) * 0x1p-53;
}

// Each next one is a value drawn with a probability proportional to its squared distance from the nearest so far.
std::vector<float> first_centroids(const std::vector<float>& values, std::int64_t clusters,
                                   std::mt19937_64& generator) {
  std::vector<float> centroids = {
      values[static_cast<std::size_t>(uniform(generator) * static_cast<double>(values.size()))]};
  std::vector<double> distance(values.size(), std::numeric_limits<double>::infinity());
  while (std::ssize(centroids) < clusters) {
    double total = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double difference = static_cast<double>(values[i]) - static_cast<double>(centroids.back());
      distance[i] = std::min(distance[i], difference * difference);
      total += distance[i];
    }
    double left = uniform(generator) * total;
    std::size_t chosen = 0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (distance[i] == 0) continue;
      chosen = i;
      if ((left -= distance[i]) < 0) break;
    }
    centroids.push_back(values[chosen]);
  }
  return centroids;
}

}  // namespace

std::vector<float> k_means(std::span<const float> values, std::int64_t clusters, std::uint64_t seed) {
  std::vector<float> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  std::vector<float> distinct;
  std::ranges::unique_copy(sorted, std::back_inserter(distinct));
  if (std::ssize(distinct) <= clusters) return distinct;

  std::mt19937_64 generator(seed);
  std::vector<float> centroids = first_centroids(sorted, clusters, generator);
  std::ranges::sort(centroids);
  std::vector<double> sums(sorted.size() + 1);  // of the values before each
  std::partial_sum(sorted.begin(), sorted.end(), sums.begin() + 1, std::plus<double>());
  for (int round = 0; round < kRounds; ++round) {
    std::vector<float> moved;
    std::size_t begin = 0;
    for (std::size_t c = 0; c < centroids.size(); ++c) {
      std::size_t end = sorted.size();
      if (c + 1 < centroids.size()) {
        const float middle = std::midpoint(centroids[c], centroids[c + 1]);
        end = static_cast<std::size_t>(std::ranges::upper_bound(sorted, middle) - sorted.begin());
      }
      if (end > begin)
        moved.push_back(static_cast<float>((sums[end] - sums[begin]) / static_cast<double>(end - begin)));
      begin = std::max(begin, end);
    }
    moved.erase(std::ranges::unique(moved).begin(), moved.end());
    if (moved == centroids) break;
    centroids = std::move(moved);
  }
  return centroids;
}

std::size_t nearest(std::span<const float> centroids, float value) {
  const auto above = std::ranges::lower_bound(centroids, value);
  const auto place = static_cast<std::size_t>(above - centroids.begin());
  if (above == centroids.begin()) return 0;
  if (above == centroids.end()) return place - 1;
  return value - centroids[place - 1] <= *above - value ? place - 1 : place;
}

}  // namespace finch::trainer
