#include "search/expected_improvement.hpp"

#include <algorithm>
#include <limits>

namespace finch::search {
namespace {

struct Bounds {
  std::vector<std::size_t> lower, upper;
};

// Slabs along the last objective: within one, what dominates is what begins at or below it.
std::vector<Bounds> decompose(const std::vector<std::vector<std::size_t>>& points, std::span<const std::size_t> tops) {
  const std::size_t last = tops.size() - 1;
  std::vector<std::size_t> levels = {0};
  for (const auto& point : points) levels.push_back(point[last]);
  std::ranges::sort(levels);
  levels.erase(std::ranges::unique(levels).begin(), levels.end());
  std::vector<Bounds> boxes;
  if (last == 0) {
    const std::size_t end = points.empty() ? tops[0] : levels[1];
    boxes.push_back({{0}, {end}});
    return boxes;
  }
  for (std::size_t k = 0; k < levels.size(); ++k) {
    std::vector<std::vector<std::size_t>> active;
    for (const auto& point : points) {
      if (point[last] <= levels[k]) active.push_back(point);
    }
    const std::size_t end = k + 1 < levels.size() ? levels[k + 1] : tops[last];
    for (Bounds& box : decompose(active, tops.first(last))) {
      box.lower.push_back(levels[k]);
      box.upper.push_back(end);
      boxes.push_back(std::move(box));
    }
  }
  return boxes;
}

}  // namespace

ExpectedImprovement::ExpectedImprovement(std::span<const std::vector<double>> front,
                                         std::span<const double> reference_point) {
  const std::size_t objectives = reference_point.size();
  std::vector<const std::vector<double>*> inside;
  for (const std::vector<double>& point : front) {
    if (std::ranges::equal(point, reference_point, std::less<>{})) inside.push_back(&point);
  }
  std::vector<std::vector<std::size_t>> points(inside.size());
  std::vector<std::size_t> tops;
  for (std::size_t i = 0; i < objectives; ++i) {
    std::vector<double> values = {-std::numeric_limits<double>::infinity(), reference_point[i]};
    for (const auto* point : inside) values.push_back((*point)[i]);
    std::ranges::sort(values);
    values.erase(std::ranges::unique(values).begin(), values.end());
    for (std::size_t k = 0; k < inside.size(); ++k) {
      points[k].push_back(static_cast<std::size_t>(std::ranges::lower_bound(values, (*inside[k])[i]) - values.begin()));
    }
    tops.push_back(values.size() - 1);
    bounds_.push_back(std::move(values));
  }
  for (Bounds& box : decompose(points, tops)) boxes_.push_back({std::move(box.lower), std::move(box.upper)});
}

double ExpectedImprovement::operator()(std::span<const std::span<const double>> samples) const {
  // E[(bound - value)+] at every bound; a box's share is the product over objectives of the differences.
  thread_local std::vector<std::vector<double>> below;
  below.resize(bounds_.size());
  for (std::size_t i = 0; i < bounds_.size(); ++i) {
    below[i].assign(bounds_[i].size(), 0.0);
    for (std::size_t k = 1; k < bounds_[i].size(); ++k) {
      double sum = 0;
      for (const double value : samples[i]) sum += std::max(bounds_[i][k] - value, 0.0);
      below[i][k] = sum / static_cast<double>(samples[i].size());
    }
    if (below[i].back() <= 0) return 0;
  }
  double total = 0;
  for (const Box& box : boxes_) {
    double volume = 1;
    for (std::size_t i = 0; i < bounds_.size(); ++i) volume *= below[i][box.upper[i]] - below[i][box.lower[i]];
    total += volume;
  }
  return total;
}

double ExpectedImprovement::of_point(std::span<const double> point) const {
  std::vector<std::span<const double>> samples;
  for (const double& value : point) samples.emplace_back(&value, 1);
  return (*this)(samples);
}

}  // namespace finch::search
