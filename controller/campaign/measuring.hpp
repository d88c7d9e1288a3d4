// What a measurement of each tier costs. Pure; thread safe.
#pragma once

#include <string>

namespace finch::controller {

// Expected seconds of one measurement of "quick", "screen" or "certify", before any was taken.
double tier_seconds(const std::string& tier);

}  // namespace finch::controller
