#include "search/pareto_front.hpp"

#include <gmock/gmock.h>

#include <limits>
#include <random>
#include <set>

namespace finch::search {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

using Points = std::vector<std::vector<double>>;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

// On a coarse grid, so that ties and duplicates are frequent.
Points random_points(std::uint64_t seed, std::size_t count, std::size_t objectives) {
  std::mt19937_64 generator(seed);
  Points points(count, std::vector<double>(objectives));
  for (auto& point : points) {
    for (double& value : point) value = static_cast<double>(generator() % 12);
  }
  return points;
}

TEST(ParetoFront, DominanceIsStrictSomewhere) {
  const auto dominates_ = [](std::vector<double> a, std::vector<double> b) { return dominates(a, b); };
  EXPECT_TRUE(dominates_({1, 2}, {1, 3}));
  EXPECT_TRUE(dominates_({0, 0}, {1, 3}));
  EXPECT_FALSE(dominates_({1, 2}, {1, 2}));
  EXPECT_FALSE(dominates_({1, 2}, {2, 1}));
  EXPECT_FALSE(dominates_({1, 3}, {1, 2}));
  EXPECT_TRUE(dominates_({1}, {2}));
}

TEST(ParetoFront, SortsByFronts) {
  const Points points = {{1, 5}, {2, 3}, {4, 1}, {2, 6}, {3, 4}, {5, 5}, {1, 5}};
  EXPECT_THAT(non_dominated_sort(points), ElementsAre(ElementsAre(0, 1, 2, 6), ElementsAre(3, 4), ElementsAre(5)));
  EXPECT_THAT(non_dominated_sort({}), IsEmpty());
}

TEST(ParetoFront, EveryFrontIsDominatedByTheOneBefore) {
  for (const std::size_t objectives : {1U, 2U, 3U, 4U}) {
    const Points points = random_points(objectives, 60, objectives);
    const auto fronts = non_dominated_sort(points);
    std::size_t count = 0;
    for (std::size_t f = 0; f < fronts.size(); ++f) {
      count += fronts[f].size();
      for (const std::size_t i : fronts[f]) {
        for (const std::size_t j : fronts[f]) EXPECT_FALSE(dominates(points[i], points[j]));
        EXPECT_TRUE(f == 0 ||
                    std::ranges::any_of(fronts[f - 1], [&](std::size_t j) { return dominates(points[j], points[i]); }));
      }
    }
    EXPECT_EQ(count, points.size());
  }
}

TEST(ParetoFront, CrowdingDistanceAgreesWithHandComputedValues) {
  // Ranges 4 and 4: (2, 2) has neighbours (0, 4) and (3, 1): 3/4 + 3/4; (3, 1) has (2, 2) and (4, 0): 2/4 + 2/4.
  EXPECT_THAT(crowding_distance(Points{{0, 4}, {3, 1}, {2, 2}, {4, 0}}),
              ElementsAre(kInfinity, DoubleEq(1.0), DoubleEq(1.5), kInfinity));
  EXPECT_THAT(crowding_distance(Points{{1, 1}}), ElementsAre(kInfinity));
  EXPECT_THAT(crowding_distance({}), IsEmpty());
  const auto same = crowding_distance(Points{{1, 1}, {1, 1}, {1, 1}});
  EXPECT_THAT(same, ElementsAre(kInfinity, 0.0, kInfinity));
}

TEST(ParetoFront, HypervolumeAgreesWithHandComputedValues) {
  const std::vector<double> reference = {4, 4};
  EXPECT_DOUBLE_EQ(hypervolume(Points{{1, 1}}, reference), 9.0);
  EXPECT_DOUBLE_EQ(hypervolume(Points{{1, 3}, {2, 2}, {3, 1}}, reference), 6.0);
  EXPECT_DOUBLE_EQ(hypervolume(Points{{1, 3}, {2, 2}, {3, 1}, {3, 3}, {2, 2}}, reference), 6.0);  // dominated, twice
  EXPECT_DOUBLE_EQ(hypervolume(Points{{1, 1}, {0, 4}, {5, 0}, {-9, 9}}, reference), 9.0);         // beyond: nothing
  EXPECT_DOUBLE_EQ(hypervolume({}, reference), 0.0);
  EXPECT_DOUBLE_EQ(hypervolume(Points{{4, 4}}, reference), 0.0);
  EXPECT_DOUBLE_EQ(hypervolume(Points{{3}, {1.5}}, std::vector<double>{4}), 2.5);
  // Boxes of 2 x 1 x 1 and 1 x 2 x 1 at one corner, sharing a unit cube.
  EXPECT_DOUBLE_EQ(hypervolume(Points{{0, 1, 1}, {1, 0, 1}}, std::vector<double>{2, 2, 2}), 3.0);
}

TEST(ParetoFront, HypervolumeGrowsWithEveryFrontPoint) {
  const std::vector<double> reference = {13, 13, 13};
  Points points;
  double before = 0;
  ParetoFront front;
  for (const auto& point : random_points(5, 40, 3)) {
    points.push_back(point);
    const double volume = hypervolume(points, reference);
    if (front.insert({.id = points.size(), .objectives = point})) {
      EXPECT_GT(volume, before);
    } else {
      EXPECT_DOUBLE_EQ(volume, before);
    }
    before = volume;
  }
}

TEST(ParetoFront, ArchiveKeepsTheFirstOfEquals) {
  ParetoFront front;
  EXPECT_TRUE(front.insert({.id = 1, .objectives = {2, 2}}));
  EXPECT_FALSE(front.insert({.id = 2, .objectives = {2, 2}}));
  EXPECT_FALSE(front.insert({.id = 3, .objectives = {2, 3}}));
  EXPECT_TRUE(front.insert({.id = 4, .objectives = {1, 3}}));
  ASSERT_EQ(front.entries().size(), 2U);
  EXPECT_EQ(front.entries()[0].id, 4U);
  EXPECT_EQ(front.entries()[1].id, 1U);
  EXPECT_TRUE(front.insert({.id = 5, .objectives = {0, 0}}));
  ASSERT_EQ(front.entries().size(), 1U);
  EXPECT_EQ(front.entries()[0].id, 5U);
}

TEST(ParetoFront, ArchiveIsMutuallyNonDominatedCompleteAndFreeOfOrder) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    for (const std::size_t objectives : {1U, 2U, 3U}) {
      Points points = random_points(seed, 80, objectives);
      ParetoFront front;
      for (std::size_t i = 0; i < points.size(); ++i) front.insert({.id = i, .objectives = points[i]});
      const auto entries = front.entries();
      std::set<std::vector<double>> kept;
      for (const ArchiveEntry& entry : entries) {
        EXPECT_EQ(entry.objectives, points[entry.id]);
        EXPECT_TRUE(kept.insert(entry.objectives).second);
        for (const ArchiveEntry& other : entries) EXPECT_FALSE(dominates(entry.objectives, other.objectives));
      }
      EXPECT_TRUE(std::ranges::is_sorted(entries, {}, [](const ArchiveEntry& entry) { return entry.objectives[0]; }));
      std::set<std::vector<double>> first_front;
      const auto fronts = non_dominated_sort(points);
      for (const std::size_t i : fronts.front()) first_front.insert(points[i]);
      EXPECT_EQ(kept, first_front);

      ParetoFront backwards;
      std::set<std::vector<double>> kept_backwards;
      for (std::size_t i = points.size(); i-- > 0;) backwards.insert({.id = i, .objectives = points[i]});
      for (const ArchiveEntry& entry : backwards.entries()) kept_backwards.insert(entry.objectives);
      EXPECT_EQ(kept, kept_backwards);
    }
  }
}

}  // namespace
}  // namespace finch::search
