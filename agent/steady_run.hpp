// One model run for a long time, back to back or at a fixed rate as a camera would ask for it. Free functions over a
// borrowed session; not thread safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <vector>

#include "agent/error.hpp"
#include "agent/inference_backend.hpp"
#include "agent/latency_rounds.hpp"

namespace finch::agent {

struct SteadyPlan {
  Seconds duration{30};
  double rate_hz = 0;  // 0: back to back
};

struct SteadyRun {
  std::chrono::nanoseconds begin{}, end{};  // by the clock, of the first inference's start and of the last one's end
  std::vector<double> latency_ms;           // every inference, from its start to its end
  // At a rate: inferences that ended after the next one was due.
  std::int64_t missed_deadlines = 0;
};

// Sleeps until a time by the clock.
using SleepUntil = std::function<void(std::chrono::nanoseconds)>;

// `on_share` hears the share that is over, about once a second and never within an inference. At a rate, an inference
// starts when it is due, or at once when the one before ended late; those that were due meanwhile are not dropped.
std::expected<SteadyRun, Error> run_steadily(InferenceSession& session, const SteadyPlan& plan, const Clock& clock,
                                             const SleepUntil& sleep_until,
                                             const std::function<void(double)>& on_share);

}  // namespace finch::agent
