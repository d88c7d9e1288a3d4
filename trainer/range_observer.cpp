#include "trainer/range_observer.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <format>
#include <limits>

namespace finch::trainer {
namespace {

using Histogram = RangeObserver::Histogram;

constexpr std::size_t kBins = 8192;  // 16 or more for each of the 256 steps of a one-sided range
constexpr std::size_t kHalf = kBins / 2;
// Below it lies nothing that matters: such a node counts as all zeros, and no scale becomes denormal.
constexpr float kSmallestLimit = 0x1p-60F;
// Candidates for each end shrink by 4.4 % at a time, down to a thousandth of the extreme.
constexpr int kCandidates = 160;
constexpr double kShrink = 0.957;
constexpr double kSteps = 255;
constexpr double kPercentile = 0.9999;

constexpr std::array kNames = {std::pair{Calibration::minmax, "minmax"},
                               std::pair{Calibration::percentile, "percentile"},
                               std::pair{Calibration::entropy, "entropy"}, std::pair{Calibration::mse, "mse"}};

double width_of(const Histogram& histogram) {
  return static_cast<double>(histogram.limit) / kHalf;
}

std::vector<std::int64_t> merge_pairwise(const std::vector<std::int64_t>& counts) {
  std::vector<std::int64_t> merged(kBins);
  // The new bins are twice as wide, and the old range is the middle half of the new one.
  for (std::size_t i = 0; i < kBins; ++i) merged[kBins / 4 + i / 2] += counts[i];
  return merged;
}

// ------------------------------------------------------------------------------------------------- least squared error

// Moments of the counts beyond an edge: gives the sum of squared distances of the clipped values in O(1).
struct Moments {
  double count = 0, sum = 0, squares = 0;

  void add(double n, double magnitude) {
    count += n;
    sum += n * magnitude;
    squares += n * magnitude * magnitude;
  }
  double clipping_error(double edge) const { return std::max(0.0, squares - 2 * edge * sum + edge * edge * count); }
};

struct End {
  double edge = 0;   // magnitude
  double error = 0;  // sum of squares by clipping there
  double kept = 0;   // nonzero values within
};

// `bin(i)`: the count of the i-th bin from zero outwards.
template <typename Bin>
std::vector<End> candidates(double extreme, double width, const Bin& bin) {
  std::vector<End> ends;
  if (extreme <= 0) return {End{}};
  double total = 0;
  for (std::size_t i = 0; i < kHalf; ++i) total += bin(i);
  Moments beyond;
  std::size_t next = kHalf;
  double edge = extreme;
  for (int c = 0; c < kCandidates; ++c, edge *= kShrink) {
    for (; next > 0 && (static_cast<double>(next) - 0.5) * width > edge; --next) {
      beyond.add(bin(next - 1), std::min(extreme, (static_cast<double>(next) - 0.5) * width));
    }
    ends.push_back({edge, beyond.clipping_error(edge), total - beyond.count});
  }
  return ends;
}

ActivationRange least_squares(const Histogram& histogram) {
  const double width = width_of(histogram);
  const std::vector<End> lows = candidates(-static_cast<double>(histogram.low), width, [&](std::size_t i) {
    return static_cast<double>(histogram.counts[kHalf - 1 - i]);
  });
  const std::vector<End> highs = candidates(static_cast<double>(histogram.high), width, [&](std::size_t i) {
    return static_cast<double>(histogram.counts[kHalf + i]);
  });
  double least = std::numeric_limits<double>::infinity();
  ActivationRange best;
  for (const End& low : lows) {
    for (const End& high : highs) {
      const double step = (low.edge + high.edge) / kSteps;
      const double error = low.error + high.error + (low.kept + high.kept) * step * step / 12;
      if (error >= least) continue;
      least = error;
      best = {static_cast<float>(-low.edge), static_cast<float>(high.edge)};
    }
  }
  return best;
}

// ---------------------------------------------------------------------------------------------------------- percentile

ActivationRange within_percentile(const Histogram& histogram) {
  const double width = width_of(histogram);
  std::int64_t total = histogram.zeros;
  for (const std::int64_t count : histogram.counts) total += count;
  const auto beyond = static_cast<std::int64_t>((1 - kPercentile) * static_cast<double>(total));
  // Outwards-in until more than the allowed share would be cut off.
  const auto edge = [&](auto&& bin, float extreme) {
    std::int64_t cut = 0;
    std::size_t i = kHalf;
    while (i > 0 && cut + bin(i - 1) <= beyond) cut += bin(--i);
    return std::min(extreme, static_cast<float>(static_cast<double>(i) * width));
  };
  return {-edge([&](std::size_t i) { return histogram.counts[kHalf - 1 - i]; }, -histogram.low),
          edge([&](std::size_t i) { return histogram.counts[kHalf + i]; }, histogram.high)};
}

// ------------------------------------------------------------------------------------------------------------- entropy

// KL(P || Q) of the histogram clipped to bins first .. last - 1: P has what lies beyond in its outermost bins, Q is the
// clipped histogram in 256 levels, each spread evenly over its bins that are not empty.
double divergence(const Histogram& histogram, std::size_t first, std::size_t last) {
  std::vector<double> clipped(last - first);
  double inside = 0, below = 0, above = 0;
  for (std::size_t i = 0; i < kBins; ++i) {
    const auto count = static_cast<double>(histogram.counts[i]);
    if (i < first) {
      below += count;
    } else if (i >= last) {
      above += count;
    } else {
      clipped[i - first] = count;
      inside += count;
    }
  }
  if (inside <= 0) return std::numeric_limits<double>::infinity();
  const double total = inside + below + above;
  const auto levels = static_cast<std::size_t>(kSteps) + 1;
  double result = 0;
  for (std::size_t level = 0; level < levels; ++level) {
    const std::size_t begin = level * clipped.size() / levels, end = (level + 1) * clipped.size() / levels;
    double sum = 0;
    int occupied = 0;
    for (std::size_t i = begin; i < end; ++i) {
      sum += clipped[i];
      occupied += clipped[i] > 0;
    }
    const double q = sum / std::max(occupied, 1) / inside;
    for (std::size_t i = begin; i < end; ++i) {
      double p = clipped[i] / total;
      if (i == 0) p += below / total;
      if (i + 1 == clipped.size()) p += above / total;
      // An outermost bin that is empty but for what was clipped into it: no level stands for it.
      if (p > 0) result += p * std::log(p / (clipped[i] > 0 ? q : 1e-6 / static_cast<double>(clipped.size())));
    }
  }
  return result;
}

ActivationRange least_divergence(const Histogram& histogram) {
  const double width = width_of(histogram);
  const auto bins = [&](double magnitude) {
    return std::min(kHalf, static_cast<std::size_t>(std::ceil(magnitude / width)));
  };
  double threshold = std::max(-histogram.low, histogram.high);
  double least = std::numeric_limits<double>::infinity();
  ActivationRange best{histogram.low, histogram.high};
  for (int c = 0; c < kCandidates; ++c, threshold *= kShrink) {
    const double low = std::min(threshold, -static_cast<double>(histogram.low));
    const double high = std::min(threshold, static_cast<double>(histogram.high));
    const std::size_t first = kHalf - bins(low), last = kHalf + bins(high);
    if (last - first <= static_cast<std::size_t>(kSteps)) break;  // a level needs a bin
    const double divergent = divergence(histogram, first, last);
    if (divergent >= least) continue;
    least = divergent;
    best = {static_cast<float>(-low), static_cast<float>(high)};
  }
  return best;
}

}  // namespace

std::expected<Calibration, Error> parse_calibration(std::string_view name) {
  std::string known;
  for (const auto& [calibration, its_name] : kNames) {
    if (name == its_name) return calibration;
    known += (known.empty() ? "" : ", ") + std::string(its_name);
  }
  return std::unexpected(Error{std::format("there is no calibration '{}'; known: {}", name, known)});
}

const char* to_string(Calibration calibration) {
  return std::ranges::find(kNames, calibration, [](const auto& entry) { return entry.first; })->second;
}

void RangeObserver::observe(std::int32_t node, std::span<const float> values) {
  Histogram& histogram = histograms_[static_cast<std::size_t>(node)];
  float low = histogram.low, high = histogram.high;
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
    histogram.zeros += value == 0;
  }
  histogram.low = low;
  histogram.high = high;
  const float extreme = std::max(-low, high);
  if (extreme < kSmallestLimit / 2) return;
  if (histogram.counts.empty()) {
    histogram.counts.resize(kBins);
    histogram.limit = kSmallestLimit;
    while (histogram.limit <= extreme && histogram.limit < std::numeric_limits<float>::max() / 2) histogram.limit *= 2;
  }
  while (histogram.limit <= extreme && histogram.limit < std::numeric_limits<float>::max() / 2) {
    histogram.counts = merge_pairwise(histogram.counts);
    histogram.limit *= 2;
  }
  const float per_width = static_cast<float>(kHalf) / histogram.limit;
  for (const float value : values) {
    // Zero is exact in every range and must not draw the range towards itself.
    if (!std::isfinite(value) || value == 0) continue;
    const float position = std::floor(value * per_width) + static_cast<float>(kHalf);
    ++histogram.counts[static_cast<std::size_t>(std::clamp(position, 0.0F, static_cast<float>(kBins - 1)))];
  }
}

std::vector<ActivationRange> RangeObserver::ranges(Calibration calibration) const {
  std::vector<ActivationRange> ranges;
  for (const Histogram& histogram : histograms_) {
    if (histogram.counts.empty()) {
      ranges.push_back({});
      continue;
    }
    switch (calibration) {
      case Calibration::minmax:
        ranges.push_back({histogram.low, histogram.high});
        break;
      case Calibration::percentile:
        ranges.push_back(within_percentile(histogram));
        break;
      case Calibration::entropy:
        ranges.push_back(least_divergence(histogram));
        break;
      case Calibration::mse:
        ranges.push_back(least_squares(histogram));
        break;
    }
  }
  return ranges;
}

}  // namespace finch::trainer
