#include "search/objective_model.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace finch::search {
namespace {

using Eigen::Index;

constexpr Index kKernelPoints = 160;  // the settings are chosen on so many points at most

std::vector<double> ranks(std::span<const double> values) {
  std::vector<std::size_t> order(values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, {}, [&](std::size_t i) { return values[i]; });
  std::vector<double> result(values.size());
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    for (std::size_t k = begin; k < end; ++k) result[order[k]] = static_cast<double>(begin + end - 1) / 2;
  }
  return result;
}

}  // namespace

double rank_correlation(std::span<const double> a, std::span<const double> b) {
  const std::vector<double> left = ranks(a), right = ranks(b);
  const double middle = (static_cast<double>(left.size()) - 1) / 2;
  double product = 0, left_squares = 0, right_squares = 0;
  for (std::size_t i = 0; i < left.size(); ++i) {
    product += (left[i] - middle) * (right[i] - middle);
    left_squares += (left[i] - middle) * (left[i] - middle);
    right_squares += (right[i] - middle) * (right[i] - middle);
  }
  return left_squares > 0 && right_squares > 0 ? product / std::sqrt(left_squares * right_squares) : 0;
}

void ObjectiveModel::fit(const EncodedGenotypes& points, std::span<const double> values, double decisions) {
  transform_ = PowerTransform(values);
  targets_.resize(points.size());
  for (Index i = 0; i < points.size(); ++i) targets_[i] = transform_.forward(values[static_cast<std::size_t>(i)]);
  if (points.size() <= kKernelPoints) {
    process_.fit_kernel(points, targets_, decisions);
  } else {
    EncodedGenotypes part;
    part.resize(kKernelPoints, points);
    Eigen::VectorXd part_targets(kKernelPoints);
    for (Index i = 0; i < kKernelPoints; ++i) {  // evenly over the history
      const Index from = i * points.size() / kKernelPoints;
      part.set(i, points, from);
      part_targets[i] = targets_[from];
    }
    process_.fit_kernel(part, part_targets, decisions);
  }
  process_.condition(points, decisions);
  process_.set_targets(targets_);
  const Eigen::VectorXd left_out = process_.leave_one_out();
  const bool constant = targets_.maxCoeff() <= targets_.minCoeff();
  rank_correlation_ = constant ? 1
                               : search::rank_correlation({left_out.data(), static_cast<std::size_t>(left_out.size())},
                                                          {targets_.data(), static_cast<std::size_t>(targets_.size())});
}

Index ObjectiveModel::add(const EncodedGenotypes& point) {
  const double expected = process_.predict(point);
  process_.add_point(point);
  targets_.conservativeResize(targets_.size() + 1);
  targets_[targets_.size() - 1] = expected;
  process_.set_targets(targets_);
  return targets_.size() - 1;
}

void ObjectiveModel::set_candidates(const EncodedGenotypes& candidates) {
  process_.set_candidates(candidates);
  deviation_ = process_.deviation();
}

void ObjectiveModel::set(Index row, double value) {
  targets_[row] = transform_.forward(value);
}

void ObjectiveModel::refresh() {
  process_.set_targets(targets_);
  deviation_ = process_.deviation();
}

}  // namespace finch::search
