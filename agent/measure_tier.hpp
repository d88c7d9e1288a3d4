// How long and how strictly a measurement is taken. Values; thread safe.
//
//            launches x rounds   block candidate + reference   warm-up      rounds looked at   half-width
//   quick    3 x 4               0.12 s + 0.12 s               0.15..0.3 s  12                 3 %
//   screen   3..5 x 4            0.5 s + 0.5 s                 1..2 s       12, 20             1 %
//   certify  3..6 x 10           2 s + 0.5 s                   1..10 s      30, 60             1 %
//
// Where the power can be sampled, another 40 s for energy (certify: 80 s, quick: 4 s): 30 s under load and 5 s idle
// before and after. A reading of a board's power is worth little in less.
//
// quick takes about 4 s: for tutorials and tests. screen is the search's: 12 s of blocks, 16 s in all; when the
// interval is still too wide at the first look 20 s of blocks, 28 s in all. certify is for finalists, MLPerf-like: at
// least 60 s and 1,024 queries of the candidate, and then a second session (3 x 4 rounds of 0.5 s + 0.5 s) that must
// agree within 2 %; about 100 s in all, about 3 minutes when the interval is still too wide at the first look.
// stability is certify, and then the same model in bad company: see StabilityPlan; about 15 minutes. A model
// slower than a block makes all of them longer: a block holds whole queries.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/error.hpp"
#include "agent/latency_rounds.hpp"
#include "agent/launch.pb.h"

namespace finch::agent {

// What may speak against a measurement; beyond it, it is DEGRADED, and of the signature INVALID.
struct MeasureLimits {
  double foreign_load = 0.01;     // of the processor, and of the time in which tasks waited
  double reference_drift = 0.02;  // of the reference network from the device's baseline
  double session_agreement = 0.02;
  double slope_celsius = 5;  // between start and end
  // Hotter than when it was calibrated by more than this, the device is waited for, at most so long.
  double start_tolerance_celsius = 2;
  Seconds start_wait{60};
  double signature = 1e-4;  // relative; threads may add up in another order
};

// How long the power is sampled, where a board has a sensor.
struct EnergyPlan {
  Seconds load{30};
  Seconds idle{5};         // before, and again after
  double rate_hz = 0;      // 0: back to back
  double coverage = 0.95;  // at least so much of each of the three times must lie between samples
};

// What the model goes through after it was measured in quiet; each condition has rounds like those of one launch there.
struct StabilityPlan {
  Seconds curve{300};  // run without a break, or at the rate asked for: a median each minute
  Seconds minute{60};
  Seconds soak{300};          // all cores busy, then measured at once
  double memory_share = 0.8;  // of the memory that can be spared, walked through beside the model
  int rounds = 8;             // under each condition
};

struct MeasureTier {
  std::string name;
  int rounds_per_launch = 4;
  Seconds candidate_block{0.5};
  Seconds reference_block{0.5};
  int candidate_block_queries = 1;
  WarmUpPlan warm_up;
  // After so many rounds in all the interval is looked at, ascending multiples of rounds_per_launch; the first is
  // reached with at least 3 launches, because the variation between launches is the largest part of all.
  std::vector<int> looks;
  double half_width = 0.01;  // of the interval of the log-ratio to the reference, to be VALID and to stop
  int memory_runs = 10;
  int second_launches = 0;  // of 4 rounds of 0.5 s each, that must give the same median; 0: none
  EnergyPlan energy{};
  std::optional<StabilityPlan> stability{};
  MeasureLimits limits{};
  LimitWishes wishes{};  // of the processes
};

// Nothing when there is no such tier.
std::optional<MeasureTier> find_tier(std::string_view name);
std::vector<std::string> tier_names();

// With what a profile changes. Errors: what no measurement can be taken with, such as no launch.
std::expected<MeasureTier, Error> with_parameters(MeasureTier tier, const protocol::MeasureParameters& parameters);

}  // namespace finch::agent
