// What `finch bench` prints. Pure functions; thread safe.
#pragma once

#include <string>
#include <vector>

#include "protocol/farm.pb.h"

namespace finch::controller {

struct BenchLine {
  std::string file;
  std::string rival;  // measured in turn with it; empty: the agent's reference network was
  std::string device;
  std::string runtime;
  protocol::Measurement measurement;
  std::string failure;  // not empty: there is no measurement, and why
};

// A table, the reasons of the verdicts below it, and a sentence for each comparison.
std::string bench_text(const std::vector<BenchLine>& lines);

// {"measurements": [{"file", ... MEASUREMENT}], "comparisons": [{"a", "b", "device", "runtime", "verdict", "reasons",
// "ratio":
// {"median", "ci_low", "ci_high"} or null, "a_median_ms", "b_median_ms", "conclusion"}]}; what failed has "error".
std::string bench_json(const std::vector<BenchLine>& lines);

// "faster", "slower" (than the rival), or "no difference shown" when the interval of the ratio holds 1 or there is
// none.
std::string conclusion(const protocol::Measurement& measurement);

}  // namespace finch::controller
