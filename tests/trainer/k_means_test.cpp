#include "trainer/k_means.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace finch::trainer {
namespace {

using testing::ElementsAre;

double squared_error(const std::vector<float>& values, const std::vector<float>& centroids) {
  double sum = 0;
  for (const float value : values) {
    const double distance = static_cast<double>(value) - static_cast<double>(centroids[nearest(centroids, value)]);
    sum += distance * distance;
  }
  return sum;
}

std::vector<float> normal_values(std::size_t count) {
  std::mt19937_64 generator(2);
  std::vector<float> values;
  while (values.size() < count) {  // twelve uniform numbers are as good as normal, and the same everywhere
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(generator() >> 11) * 0x1p-53;
    values.push_back(static_cast<float>(sum));
  }
  return values;
}

TEST(KMeans, FewDistinctValuesAreTheCentroids) {
  EXPECT_THAT(k_means(std::vector<float>{2, -1, 2, 5, -1}, 4, 1), ElementsAre(-1, 2, 5));
  EXPECT_THAT(k_means(std::vector<float>{3, 3}, 1, 1), ElementsAre(3));
}

TEST(KMeans, OneCentroidIsTheMean) {
  EXPECT_THAT(k_means(std::vector<float>{1, 2, 6}, 1, 1), ElementsAre(3));
}

TEST(KMeans, FindsClustersThatLieApart) {
  EXPECT_THAT(k_means(std::vector<float>{9, 0, 1, 10, 11, -1}, 2, 7), ElementsAre(0, 10));
}

TEST(KMeans, CentroidsAreTheMeansOfTheirValuesAndBeatEqualSteps) {
  const std::vector<float> values = normal_values(4000);
  const float low = std::ranges::min(values), high = std::ranges::max(values);
  for (const int clusters : {4, 16, 64}) {
    const std::vector<float> centroids = k_means(values, clusters, 3);
    EXPECT_LE(std::ssize(centroids), clusters);
    EXPECT_GE(std::ssize(centroids), clusters - 1);
    EXPECT_TRUE(std::ranges::is_sorted(centroids, std::less_equal()));
    std::vector<float> steps;
    for (int i = 0; i < clusters; ++i)
      steps.push_back(low + (high - low) * (static_cast<float>(i) + 0.5F) / static_cast<float>(clusters));
    EXPECT_LT(squared_error(values, centroids), squared_error(values, steps));
    std::vector<double> sum(centroids.size()), count(centroids.size());
    for (const float value : values) {
      sum[nearest(centroids, value)] += static_cast<double>(value);
      ++count[nearest(centroids, value)];
    }
    if (clusters > 4) continue;  // many more need more than the 100 rounds
    for (std::size_t c = 0; c < centroids.size(); ++c)
      EXPECT_NEAR(static_cast<double>(centroids[c]), sum[c] / count[c], 1e-5);
  }
}

TEST(KMeans, SameSeedSameCentroids) {
  const std::vector<float> values = normal_values(500);
  EXPECT_EQ(k_means(values, 8, 5), k_means(values, 8, 5));
}

TEST(KMeans, NearestIsTheLeastDistance) {
  const std::vector<float> centroids = {-1, 0.5, 3};
  for (float value = -3; value < 5; value += 0.07F) {
    std::vector<float> distances;
    for (const float centroid : centroids) distances.push_back(std::abs(centroid - value));
    EXPECT_EQ(nearest(centroids, value),
              static_cast<std::size_t>(std::ranges::min_element(distances) - distances.begin()));
  }
}

}  // namespace
}  // namespace finch::trainer
