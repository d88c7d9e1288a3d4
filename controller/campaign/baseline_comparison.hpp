// Whether the front beats what it is compared with. Pure functions; thread safe.
#pragma once

#include <string>
#include <vector>

#include "controller/campaign/front.hpp"

namespace finch::controller {

// Fills each baseline's rival, and says in one sentence which baselines the front beats: with a file at least as
// accurate on the same test images, whose interval of latency lies below the baseline's. Empty without baselines.
std::string compare_with_baselines(const std::vector<FrontModel>& front, std::vector<BaselineInfo>& baselines);

}  // namespace finch::controller
