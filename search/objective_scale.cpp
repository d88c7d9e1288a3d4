#include "search/objective_scale.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

namespace finch::search {
namespace {

constexpr double kFarthest = 8;  // standard deviations: one wild value must not outweigh all others
constexpr double kPowers[] = {1, 0.5, 0, -0.5, -1, -1.5, -2};

}  // namespace

PowerTransform::PowerTransform(std::span<const double> values) {
  const auto count = static_cast<double>(values.size());
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  const double median = sorted[sorted.size() / 2];
  const double span = sorted.back() - sorted.front();
  if (!(span > 0)) {
    shift_ = 1 - median;  // a constant is the middle of its scale
    return;
  }
  // Positive throughout, also a little below the least value.
  if (sorted.front() <= 0.02 * span) shift_ = 0.05 * span - sorted.front();
  unit_ = median + shift_;
  double best = -std::numeric_limits<double>::infinity(), best_power = 1;
  for (const double power : kPowers) {
    power_ = power;
    double sum = 0, squares = 0, logs = 0;
    for (const double value : values) {
      const double x = raw(value);
      sum += x;
      squares += x * x;
      logs += std::log((value + shift_) / unit_);
    }
    const double variance = squares / count - (sum / count) * (sum / count);
    if (!(variance > 1e-12)) continue;
    const double likelihood = -0.5 * count * std::log(variance) + (power - 1) * logs;
    if (likelihood > best) {
      best = likelihood;
      best_power = power;
      mean_ = sum / count;
      deviation_ = std::sqrt(variance);
    }
  }
  power_ = best_power;
}

double PowerTransform::raw(double value) const {
  const double x = std::max((value + shift_) / unit_, 1e-6);
  return power_ == 0 ? std::log(x) : (std::pow(x, power_) - 1) / power_;
}

double PowerTransform::forward(double value) const {
  return std::clamp((raw(value) - mean_) / deviation_, -kFarthest, kFarthest);
}

double PowerTransform::inverse(double transformed) const {
  const double x = mean_ + deviation_ * transformed;
  const double positive =
      power_ == 0 ? std::exp(std::min(x, 50.0)) : std::pow(std::max(1 + power_ * x, 1e-3), 1 / power_);
  return unit_ * positive - shift_;
}

UtilityScale::UtilityScale(std::span<const double> values) {
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  const auto quantile = [&](double share) {
    return sorted[static_cast<std::size_t>(std::lround(share * static_cast<double>(sorted.size() - 1)))];
  };
  const double low = quantile(0.25), high = quantile(0.75);
  range_ = high - low;
  if (!(range_ > 0)) range_ = sorted.back() - sorted.front();
  if (!(range_ > 0)) range_ = std::max(std::abs(high), 1.0);
  fence_ = high + 1.5 * range_;
}

double UtilityScale::operator()(double value) const {
  if (value <= fence_) return value / range_;
  return fence_ / range_ + std::log1p((value - fence_) / range_);
}

}  // namespace finch::search
