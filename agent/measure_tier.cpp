#include "agent/measure_tier.hpp"

#include <algorithm>

namespace finch::agent {
namespace {

std::vector<MeasureTier> tiers() {
  std::vector<MeasureTier> all = {
      {.name = "quick",
       .rounds_per_launch = 4,
       .candidate_block = Seconds(0.12),
       .reference_block = Seconds(0.12),
       .warm_up = {.minimum = Seconds(0.15), .cap = Seconds(0.3), .agreement = 0.03},
       .looks = {12},
       .half_width = 0.03,
       .energy = {.load = Seconds(2), .idle = Seconds(1)}},
      {.name = "screen",
       .rounds_per_launch = 4,
       .candidate_block = Seconds(0.5),
       .reference_block = Seconds(0.5),
       .warm_up = {.minimum = Seconds(1), .cap = Seconds(2), .agreement = 0.01},
       .looks = {12, 20},
       .half_width = 0.01},
      {.name = "certify",
       .rounds_per_launch = 10,
       .candidate_block = Seconds(2),
       .reference_block = Seconds(0.5),
       .candidate_block_queries = 35,  // 30 rounds of them are 1,050 queries
       .warm_up = {.minimum = Seconds(1), .cap = Seconds(10), .agreement = 0.01},
       .looks = {30, 60},
       .half_width = 0.01,
       .second_session = true,
       .energy = {.load = Seconds(60), .idle = Seconds(10)}},
  };
  MeasureTier stability = all.back();
  stability.name = "stability";
  stability.stability = StabilityPlan();
  all.push_back(std::move(stability));
  return all;
}

}  // namespace

std::optional<MeasureTier> find_tier(std::string_view name) {
  for (MeasureTier& tier : tiers()) {
    if (tier.name == name) return std::move(tier);
  }
  return std::nullopt;
}

std::vector<std::string> tier_names() {
  std::vector<std::string> names;
  for (const MeasureTier& tier : tiers()) names.push_back(tier.name);
  return names;
}

}  // namespace finch::agent
