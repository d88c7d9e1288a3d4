// Collects activations and chooses the range of each node that 8 bits are to cover. Not thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/error.hpp"

namespace finch::trainer {

// Of a node's output on the calibration set; by node index.
struct ActivationRange {
  float low = 0;
  float high = 0;
};

// How a range is chosen from what was seen.
enum class Calibration {
  minmax,      // all of it
  percentile,  // what 99.99 % of the values lie within, at either end
  entropy,     // least KL divergence of the rounded from the true distribution (Migacz 2017, "8-bit Inference with
               // TensorRT")
  mse,         // least mean squared error by rounding and clipping together
};
// Errors: a name that is not one of these, with those that are.
std::expected<Calibration, Error> parse_calibration(std::string_view name);
const char* to_string(Calibration calibration);

class RangeObserver {
 public:
  explicit RangeObserver(std::size_t nodes) : histograms_(nodes) {}
  // `values`: any number of outputs of the node. What is not finite is left out.
  void observe(std::int32_t node, std::span<const float> values);
  // A range always holds zero; {0, 0} for a node that gave nothing but zeros, or was never observed.
  std::vector<ActivationRange> ranges(Calibration calibration) const;

  // Over [-limit, limit]. The limit is a power of two and grows by doubling, which merges bins pairwise: no count is
  // ever split between bins.
  struct Histogram {
    float limit = 0;
    float low = 0, high = 0;  // extremes seen, and zero
    std::int64_t zeros = 0;   // which are in no bin
    std::vector<std::int64_t> counts;
  };

 private:
  std::vector<Histogram> histograms_;
};

}  // namespace finch::trainer
