#include "agent/steady_run.hpp"

#include <algorithm>

namespace finch::agent {

std::expected<SteadyRun, Error> run_steadily(InferenceSession& session, const SteadyPlan& plan, const Clock& clock,
                                             const SleepUntil& sleep_until,
                                             const std::function<void(double)>& on_share) {
  SteadyRun run;
  run.begin = clock();
  const auto end = run.begin + std::chrono::duration_cast<std::chrono::nanoseconds>(plan.duration);
  const std::chrono::nanoseconds period(plan.rate_hz > 0 ? static_cast<std::int64_t>(1e9 / plan.rate_hz) : 0);
  auto next_report = run.begin;
  auto due = run.begin;
  auto now = run.begin;
  do {
    if (now >= next_report) {
      on_share(std::min(std::chrono::duration<double>(now - run.begin) / plan.duration, 1.0));
      next_report = now + std::chrono::seconds(1);
      now = clock();
    }
    if (period.count() > 0 && now < due) {
      sleep_until(due);
      now = clock();
    }
    if (auto ran = session.run(); !ran) return std::unexpected(ran.error());
    const auto after = clock();
    run.latency_ms.push_back(std::chrono::duration<double, std::milli>(after - now).count());
    due += period;
    if (period.count() > 0 && after > due) ++run.missed_deadlines;
    now = after;
  } while (now < end && (period.count() == 0 || due < end));
  run.end = now;
  if (period.count() > 0 && run.end < end) {
    // The rest after the last inference is part of what a frame costs.
    sleep_until(due);
    run.end = clock();
  }
  return run;
}

}  // namespace finch::agent
