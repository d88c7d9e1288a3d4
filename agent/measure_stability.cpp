#include "agent/measure_stability.hpp"

#include <format>
#include <span>
#include <utility>

#include "agent/core_choice.hpp"
#include "agent/device_state.hpp"
#include "agent/disturbance.hpp"
#include "agent/latency_statistics.hpp"
#include "agent/pause.hpp"
#include "agent/sandbox.hpp"

namespace finch::agent {
namespace {

constexpr std::int64_t kLeastWalk = std::int64_t{16} << 20U;

class Stability {
 public:
  Stability(const StabilityLaunches& launches, const SystemFiles& files, const Launcher& launcher,
            const std::stop_token& stop)
      : launches_(launches), files_(files), launcher_(launcher), stop_(stop) {}

  // Error: stopped.
  std::expected<protocol::Condition, Error> under(const std::string& name) {
    protocol::Condition condition;
    condition.set_name(name);
    const DeviceState before = read_device_state(files_);
    std::vector<DeviceState> during;
    auto event = launcher_(launches_.latency, [&](double) { during.push_back(read_device_state(files_)); }, stop_);
    if (stop_.stop_requested()) return std::unexpected(Error{"stopped", true});
    const StateChanges changes = compare_states(before, during, read_device_state(files_), launches_.slope_celsius);
    for (const auto& list : {changes.invalidating, changes.degrading}) {
      for (const std::string& change : list) condition.add_remarks(change);
    }
    if (!event) {
      condition.add_remarks(event.error().message);
      return condition;
    }
    const auto& rounds = event->latency().candidate_median_ms();
    const auto& queries = event->latency().candidate_ms();
    const double middle = median({rounds.data(), static_cast<std::size_t>(rounds.size())});
    condition.set_latency_median_ms(middle);
    condition.set_latency_p99_ms(
        early_stopping_percentile({queries.data(), static_cast<std::size_t>(queries.size())}, 0.99).value_or(0));
    condition.set_slowdown(middle / launches_.quiet_ms);
    return condition;
  }

 private:
  const StabilityLaunches& launches_;
  const SystemFiles& files_;
  const Launcher& launcher_;
  const std::stop_token& stop_;
};

}  // namespace

std::vector<double> medians_by_minute(std::span<const double> latencies_ms, double rate_hz, Seconds minute) {
  std::vector<double> medians;
  const double minute_ms = 1e3 * minute.count(), frame_ms = rate_hz > 0 ? 1e3 / rate_hz : 0;
  std::size_t first = 0;
  double begin = 0, end = minute_ms;
  for (std::size_t i = 0; i <= latencies_ms.size(); ++i) {
    const bool over = i == latencies_ms.size();
    if (begin >= end || (over && begin >= end - minute_ms / 2)) {
      if (i > first) medians.push_back(median(latencies_ms.subspan(first, i - first)));
      first = i;
      end += minute_ms;
    }
    if (!over) begin += frame_ms > 0 ? frame_ms : latencies_ms[i];
  }
  return medians;
}

std::expected<StabilityOutcome, Error> measure_stability(const StabilityLaunches& launches, const StabilityPlan& plan,
                                                         const SystemFiles& files, const Launcher& launcher,
                                                         const std::function<void(const std::string&)>& on_step,
                                                         const std::stop_token& stop) {
  StabilityOutcome outcome;
  on_step("minute by minute");
  const auto curve = launcher(launches.steady, {}, stop);
  if (!curve) return std::unexpected(curve.error());
  const auto& latencies = curve->steady().latency_ms();
  outcome.minute_median_ms = medians_by_minute({latencies.data(), static_cast<std::size_t>(latencies.size())},
                                               launches.steady.steady().rate_hz(), plan.minute);

  Stability stability(launches, files, launcher, stop);
  const auto take = [&](const std::string& name) -> std::expected<void, Error> {
    on_step(name);
    auto condition = stability.under(name);
    if (!condition) return std::unexpected(condition.error());
    outcome.conditions.push_back(std::move(*condition));
    return {};
  };
  const std::vector<int> cores = allowed_cores();
  {
    const auto busy = Disturbance::busy_cores(cores);
    if (!busy) return std::unexpected(busy.error());
    if (auto taken = take("CPU load"); !taken) return std::unexpected(taken.error());
  }
  const auto walked =
      static_cast<std::int64_t>(plan.memory_share * static_cast<double>(memory_to_spare(files, kMemoryShare)));
  if (walked >= kLeastWalk) {
    const auto walk = Disturbance::memory_walk(walked);
    if (!walk) return std::unexpected(walk.error());
    if (auto taken = take("memory pressure"); !taken) return std::unexpected(taken.error());
  }
  {
    on_step(std::format("heating up for {:.0f} s", plan.soak.count()));
    const auto busy = Disturbance::busy_cores(cores);
    if (!busy) return std::unexpected(busy.error());
    if (!pause(plan.soak, stop)) return std::unexpected(Error{"stopped", true});
  }
  if (auto taken = take("heat soak"); !taken) return std::unexpected(taken.error());
  return outcome;
}

}  // namespace finch::agent
