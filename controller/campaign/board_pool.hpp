// Boards of one profile that share the measuring of a campaign: what each is off the others, and latencies free of it.
// Pure; thread safe.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "protocol/farm.pb.h"

namespace finch::controller {

struct BoardPool {
  // What the reference network takes on the pool's typical board: the geometric median of the boards' baselines when
  // the pool was formed. Boards that come later, and upgrades, leave it as it is: it only gives the scale.
  double reference_ms = 0;
  std::map<std::string, double> baseline_ms;  // by board, as calibrated last

  // By how much the board is slower than the typical one: 0.05 is 5 %. REQUIRES: calibrated.
  double effect_of(const std::string& board) const { return baseline_ms.at(board) / reference_ms - 1; }
};

// The median of the logarithms, as a value again. REQUIRES: not empty, all above 0.
double geometric_median(std::vector<double> values);

// The measurement with the latencies that the pool's typical board would show: the ratio to the reference network,
// which was taken in the same rounds on the same board, times what the network takes there. Energy and memory stay.
// Without a ratio it is given back as it is.
protocol::Measurement pooled(protocol::Measurement measurement, double reference_ms);

}  // namespace finch::controller
