#include "agent/measure_tier.hpp"

#include <algorithm>
#include <format>
#include <type_traits>

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
       .energy = {.load = Seconds(2), .idle = Seconds(1)},
       .limits = {.start_wait = Seconds(5)}},
      {.name = "screen",
       .rounds_per_launch = 4,
       .candidate_block = Seconds(0.5),
       .reference_block = Seconds(0.5),
       .warm_up = {.minimum = Seconds(1), .cap = Seconds(2), .agreement = 0.01},
       .looks = {12, 20},
       .half_width = 0.01,
       .limits = {.start_wait = Seconds(20)}},
      {.name = "certify",
       .rounds_per_launch = 10,
       .candidate_block = Seconds(2),
       .reference_block = Seconds(0.5),
       .candidate_block_queries = 35,  // 30 rounds of them are 1,050 queries
       .warm_up = {.minimum = Seconds(1), .cap = Seconds(10), .agreement = 0.01},
       .looks = {30, 60},
       .half_width = 0.01,
       .second_launches = 3,
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

std::expected<MeasureTier, Error> with_parameters(MeasureTier tier, const protocol::MeasureParameters& p) {
  const auto wrong = [](const char* what) {
    return std::unexpected(Error{std::format("the job's parameters of measuring: {}; see its device's profile", what)});
  };
  const auto set = [](bool given, auto value, auto& to) {
    if (given) to = std::remove_reference_t<decltype(to)>(value);
  };
  std::vector<int> launches(p.launches().begin(), p.launches().end());
  if (launches.empty()) {
    for (const int look : tier.looks) launches.push_back(look / tier.rounds_per_launch);
  }
  set(p.has_rounds(), p.rounds(), tier.rounds_per_launch);
  if (tier.rounds_per_launch < 1 || launches.front() < 1 || !std::ranges::is_sorted(launches))
    return wrong("rounds and launches are 1 or more, and launches ascend");
  tier.looks.clear();
  for (const int count : launches) tier.looks.push_back(count * tier.rounds_per_launch);
  set(p.has_half_width(), p.half_width(), tier.half_width);
  set(p.has_block_seconds(), p.block_seconds(), tier.candidate_block);
  set(p.has_reference_block_seconds(), p.reference_block_seconds(), tier.reference_block);
  set(p.has_block_queries(), p.block_queries(), tier.candidate_block_queries);
  set(p.has_warm_up_seconds(), p.warm_up_seconds(), tier.warm_up.minimum);
  set(p.has_warm_up_cap_seconds(), p.warm_up_cap_seconds(), tier.warm_up.cap);
  set(p.has_warm_up_runs(), p.warm_up_runs(), tier.warm_up.minimum_runs);
  set(p.has_warm_up_agreement(), p.warm_up_agreement(), tier.warm_up.agreement);
  set(p.has_memory_runs(), p.memory_runs(), tier.memory_runs);
  set(p.has_second_launches(), p.second_launches(), tier.second_launches);
  set(p.has_session_agreement(), p.session_agreement(), tier.limits.session_agreement);
  set(p.has_energy_seconds(), p.energy_seconds(), tier.energy.load);
  set(p.has_energy_idle_seconds(), p.energy_idle_seconds(), tier.energy.idle);
  set(p.has_energy_coverage(), p.energy_coverage(), tier.energy.coverage);
  if (tier.stability) {
    set(p.has_curve_seconds(), p.curve_seconds(), tier.stability->curve);
    set(p.has_soak_seconds(), p.soak_seconds(), tier.stability->soak);
    set(p.has_walked_memory(), p.walked_memory(), tier.stability->memory_share);
    set(p.has_condition_rounds(), p.condition_rounds(), tier.stability->rounds);
    if (tier.stability->rounds < 1) return wrong("condition_rounds is 1 or more");
  }
  set(p.has_foreign_load(), p.foreign_load(), tier.limits.foreign_load);
  set(p.has_reference_drift(), p.reference_drift(), tier.limits.reference_drift);
  set(p.has_temperature_slope_celsius(), p.temperature_slope_celsius(), tier.limits.slope_celsius);
  set(p.has_start_tolerance_celsius(), p.start_tolerance_celsius(), tier.limits.start_tolerance_celsius);
  set(p.has_start_wait_seconds(), p.start_wait_seconds(), tier.limits.start_wait);
  set(p.has_signature_tolerance(), p.signature_tolerance(), tier.limits.signature);
  if (p.has_memory_limit()) tier.wishes.set_memory_share(p.memory_limit());
  if (p.has_processor_seconds()) tier.wishes.set_processor_seconds(p.processor_seconds());
  if (p.has_silence_seconds()) tier.wishes.set_silence_seconds(p.silence_seconds());
  if (tier.memory_runs < 1 || tier.candidate_block_queries < 1 || tier.warm_up.minimum <= Seconds(0))
    return wrong("memory_runs and block_queries are 1 or more, warm_up_seconds is above 0");
  return tier;
}

std::vector<std::string> tier_names() {
  std::vector<std::string> names;
  for (const MeasureTier& tier : tiers()) names.push_back(tier.name);
  return names;
}

}  // namespace finch::agent
