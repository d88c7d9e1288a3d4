#include "controller/campaign/measure_tier.hpp"

namespace finch::controller {

double tier_seconds(const std::string& tier) {
  return tier == "quick" ? 6 : tier == "screen" ? 20 : 150;
}

}  // namespace finch::controller
