// What a campaign will take, from a few measurements. Pure functions; thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <vector>

#include "controller/config/campaign_config.hpp"
#include "controller/error.hpp"

namespace finch::controller {

struct PlanFacts {
  std::int64_t train_samples = 0, test_samples = 0;
  // Of the smallest and the largest network that keep the constraints.
  double images_per_second_small = 1, images_per_second_large = 1;
  double latency_ms_small = 0, latency_ms_large = 0;
  double measurement_seconds = 0;  // one of the search tier
  bool energy = false;             // is measured too
  std::int64_t largest_parameters = 0;
};

struct PlanStage {
  std::string name;
  double seconds = 0;
  double megabytes = 0;
};

struct Plan {
  std::vector<PlanStage> stages;
  std::int64_t evaluations = 0;
  double total_seconds() const;
  double total_megabytes() const;
};

inline constexpr std::int64_t kFewestEvaluations = 4;  // below it there is no search to speak of

// Stage `quantization` is training with fake quantization, as though every finalist needed it.
// Error (exit code `usage`): the budget cannot hold teacher, finalists and `kFewestEvaluations`; names the nearest that
// can.
std::expected<Plan, Error> plan_campaign(const CampaignConfig& config, const PlanFacts& facts);

}  // namespace finch::controller
