#include <algorithm>
#include <cmath>
#include <limits>

#include "trainer/onnx_writer.hpp"

namespace finch::trainer {
namespace {

constexpr std::size_t kBins = 8192;  // 16 or more for each of the 256 steps of a one-sided range
// Below it lies nothing that matters: such a node counts as all zeros, and no scale becomes denormal.
constexpr float kSmallestLimit = 0x1p-60F;
// Candidates for each end shrink by 4.4 % at a time, down to a thousandth of the extreme.
constexpr int kCandidates = 160;
constexpr double kShrink = 0.957;
constexpr double kSteps = 255;

std::vector<std::int64_t> merge_pairwise(const std::vector<std::int64_t>& counts) {
  std::vector<std::int64_t> merged(kBins);
  // The new bins are twice as wide, and the old range is the middle half of the new one.
  for (std::size_t i = 0; i < kBins; ++i) merged[kBins / 4 + i / 2] += counts[i];
  return merged;
}

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
  for (std::size_t i = 0; i < kBins / 2; ++i) total += bin(i);
  Moments beyond;
  std::size_t next = kBins / 2;
  double edge = extreme;
  for (int c = 0; c < kCandidates; ++c, edge *= kShrink) {
    for (; next > 0 && (static_cast<double>(next) - 0.5) * width > edge; --next) {
      beyond.add(bin(next - 1), std::min(extreme, (static_cast<double>(next) - 0.5) * width));
    }
    ends.push_back({edge, beyond.clipping_error(edge), total - beyond.count});
  }
  return ends;
}

}  // namespace

void RangeObserver::observe(std::int32_t node, std::span<const float> values) {
  Histogram& histogram = histograms_[static_cast<std::size_t>(node)];
  float low = histogram.low, high = histogram.high;
  for (const float value : values) {
    if (!std::isfinite(value)) continue;
    low = std::min(low, value);
    high = std::max(high, value);
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
  const float per_width = static_cast<float>(kBins / 2) / histogram.limit;
  for (const float value : values) {
    // Zero is exact in every range and must not draw the range towards itself.
    if (!std::isfinite(value) || value == 0) continue;
    const float position = std::floor(value * per_width) + static_cast<float>(kBins / 2);
    ++histogram.counts[static_cast<std::size_t>(std::clamp(position, 0.0F, static_cast<float>(kBins - 1)))];
  }
}

std::vector<ActivationRange> RangeObserver::ranges() const {
  std::vector<ActivationRange> ranges;
  for (const Histogram& histogram : histograms_) {
    if (histogram.counts.empty()) {
      ranges.push_back({});
      continue;
    }
    const double width = static_cast<double>(histogram.limit) / (kBins / 2);
    const std::vector<End> lows = candidates(-static_cast<double>(histogram.low), width, [&](std::size_t i) {
      return static_cast<double>(histogram.counts[kBins / 2 - 1 - i]);
    });
    const std::vector<End> highs = candidates(static_cast<double>(histogram.high), width, [&](std::size_t i) {
      return static_cast<double>(histogram.counts[kBins / 2 + i]);
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
    ranges.push_back(best);
  }
  return ranges;
}

}  // namespace finch::trainer
