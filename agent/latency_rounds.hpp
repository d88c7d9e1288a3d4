// One launch of a latency measurement: warm-up, then rounds of {reference, candidate} blocks in random order.
// Free functions over borrowed sessions; not thread safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <vector>

#include "agent/error.hpp"
#include "agent/inference_backend.hpp"

namespace finch::agent {

using Clock = std::function<std::chrono::nanoseconds()>;
using Seconds = std::chrono::duration<double>;

struct WarmUpPlan {
  Seconds minimum{1};
  Seconds cap{3};
  double agreement = 0.01;  // the medians of three windows in a row lie within this share
  int minimum_runs = 10;
};

// Runs until at least the minimum is over and three windows agree. False: the cap came first.
std::expected<bool, Error> warm_up(InferenceSession& session, const WarmUpPlan& plan, const Clock& clock);

struct RoundPlan {
  int rounds = 4;
  Seconds candidate_block{0.5};
  Seconds reference_block{0.5};
  int candidate_block_queries = 1;  // at least, however long they take
  std::uint64_t seed = 0;           // of the order within the rounds
};

struct LaunchLatencies {
  std::vector<double> candidate_ms;         // every query, in order; no outlier is dropped
  std::vector<double> candidate_median_ms;  // a round each
  std::vector<double> reference_median_ms;
};

// `on_round` hears the number of finished rounds.
std::expected<LaunchLatencies, Error> measure_rounds(InferenceSession& candidate, InferenceSession& reference,
                                                     const RoundPlan& plan, const Clock& clock,
                                                     const std::function<void(int)>& on_round = {});

}  // namespace finch::agent
