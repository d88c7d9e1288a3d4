#include "search/pareto_front.hpp"

#include <algorithm>
#include <cassert>
#include <limits>
#include <numeric>
#include <pagmo/utils/hypervolume.hpp>
#include <utility>

namespace finch::search {

bool dominates(std::span<const double> a, std::span<const double> b) {
  assert(a.size() == b.size());
  bool better = false;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (a[i] > b[i]) return false;
    better = better || a[i] < b[i];
  }
  return better;
}

std::vector<std::vector<std::size_t>> non_dominated_sort(std::span<const std::vector<double>> points) {
  const std::size_t count = points.size();
  std::vector<std::vector<std::size_t>> dominated(count);
  std::vector<std::size_t> dominators(count, 0);
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t j = 0; j < count; ++j) {
      if (dominates(points[i], points[j])) {
        dominated[i].push_back(j);
        ++dominators[j];
      }
    }
  }
  std::vector<std::vector<std::size_t>> fronts;
  std::vector<std::size_t> front;
  for (std::size_t i = 0; i < count; ++i) {
    if (dominators[i] == 0) front.push_back(i);
  }
  while (!front.empty()) {
    std::vector<std::size_t> next;
    for (const std::size_t i : front) {
      for (const std::size_t j : dominated[i]) {
        if (--dominators[j] == 0) next.push_back(j);
      }
    }
    std::ranges::sort(next);
    fronts.push_back(std::exchange(front, std::move(next)));
  }
  return fronts;
}

std::vector<double> crowding_distance(std::span<const std::vector<double>> points) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::vector<double> distance(points.size(), 0.0);
  if (points.empty()) return distance;
  std::vector<std::size_t> order(points.size());
  for (std::size_t objective = 0; objective < points[0].size(); ++objective) {
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, {}, [&](std::size_t i) { return points[i][objective]; });
    const double range = points[order.back()][objective] - points[order.front()][objective];
    distance[order.front()] = distance[order.back()] = kInfinity;
    if (range <= 0) continue;
    for (std::size_t k = 1; k + 1 < order.size(); ++k) {
      distance[order[k]] += (points[order[k + 1]][objective] - points[order[k - 1]][objective]) / range;
    }
  }
  return distance;
}

double hypervolume(std::span<const std::vector<double>> points, std::span<const double> reference_point) {
  std::vector<std::vector<double>> inside;
  for (const std::vector<double>& point : points) {
    assert(point.size() == reference_point.size());
    bool strictly_inside = true;
    for (std::size_t i = 0; i < point.size(); ++i) strictly_inside = strictly_inside && point[i] < reference_point[i];
    if (strictly_inside) inside.push_back(point);
  }
  if (inside.empty()) return 0.0;
  if (reference_point.size() == 1) return reference_point[0] - std::ranges::min(inside)[0];
  return pagmo::hypervolume(inside).compute({reference_point.begin(), reference_point.end()});
}

bool ParetoFront::insert(ArchiveEntry entry) {
  for (const ArchiveEntry& kept : entries_) {
    if (kept.objectives == entry.objectives || dominates(kept.objectives, entry.objectives)) return false;
  }
  std::erase_if(entries_, [&](const ArchiveEntry& kept) { return dominates(entry.objectives, kept.objectives); });
  const auto at = std::ranges::upper_bound(entries_, entry.objectives, {}, &ArchiveEntry::objectives);
  entries_.insert(at, std::move(entry));
  return true;
}

}  // namespace finch::search
