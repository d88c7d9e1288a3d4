#include "agent/measure_energy.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <format>
#include <span>
#include <utility>

#include "agent/latency_statistics.hpp"
#include "agent/launch.pb.h"
#include "agent/pause.hpp"
#include "agent/power_recorder.hpp"
#include "agent/power_trace.hpp"

namespace finch::agent {
namespace {

constexpr std::chrono::seconds kLongestWait{3};  // for a sample; meters in sockets give one a second

}  // namespace

LaunchRequest steady_request(const LaunchRequest& base, const EnergyPlan& plan, const WarmUpPlan& warm_up) {
  LaunchRequest request = base;
  SteadyTask& task = *request.mutable_steady();
  task.set_seconds(plan.load.count());
  task.set_rate_hz(plan.rate_hz);
  task.set_warm_up_minimum_seconds(warm_up.minimum.count());
  task.set_warm_up_cap_seconds(warm_up.cap.count());
  task.set_warm_up_agreement(warm_up.agreement);
  task.set_warm_up_runs(warm_up.minimum_runs);
  return request;
}

std::expected<EnergyOutcome, Error> measure_energy(const LaunchRequest& base, const EnergyPlan& plan,
                                                   const WarmUpPlan& warm_up, PowerSensor& sensor, double expected_ms,
                                                   double tolerance, const Launcher& launcher,
                                                   const std::function<void(double)>& on_progress,
                                                   std::stop_token stop) {
  const auto stopped = [] { return std::unexpected(Error{"stopped", true}); };
  PowerRecorder recorder(sensor);
  // The idle times begin and end with a sample, so that a slow meter covers them; one that never comes shows below.
  recorder.wait_for_sample({}, kLongestWait, stop);
  TimeWindow before{.begin = monotonic_now(), .end = {}};
  if (!pause(plan.idle, stop)) return stopped();
  before.end = monotonic_now();
  const auto event = launcher(steady_request(base, plan, warm_up), on_progress, stop);
  if (!event) return std::unexpected(event.error());
  TimeWindow after{.begin = monotonic_now(), .end = {}};
  if (!pause(plan.idle, stop)) return stopped();
  after.end = monotonic_now();
  recorder.wait_for_sample(after.end, kLongestWait, stop);
  const std::vector<PowerSample> samples = recorder.finish();

  const SteadyResult& run = event->steady();
  if (!event->has_steady() || run.latency_ms().empty() || run.end_ns() <= run.begin_ns()) {
    return std::unexpected(Error{"the measuring process gave an incomplete result", true});
  }
  EnergyOutcome outcome{.provenance = sensor.provenance()};
  outcome.run = run;
  const double latency_ms = median(std::span(run.latency_ms().data(), static_cast<std::size_t>(run.latency_ms_size())));
  if (const double off = latency_ms / expected_ms - 1; plan.rate_hz == 0 && std::abs(off) > tolerance) {
    outcome.doubts.push_back(
        std::format("energy: the latency was {:+.1f} % off while the power was sampled", 100 * off));
  }

  const TimeWindow load{std::chrono::nanoseconds(run.begin_ns()), std::chrono::nanoseconds(run.end_ns())};
  const std::array<std::pair<const char*, TimeWindow>, 3> windows{
      {{"the idle time before", before}, {"the load", load}, {"the idle time after", after}}};
  std::array<WindowEnergy, 3> energies{};
  for (std::size_t i = 0; i < windows.size(); ++i) {
    const auto energy = integrate_power(samples, windows[i].second);
    energies[i] = energy.value_or(WindowEnergy{});
    if (energies[i].coverage >= plan.coverage) continue;
    std::string doubt = std::format("energy not given: samples of the power cover {:.0f} % of {}",
                                    std::floor(100 * energies[i].coverage), windows[i].first);
    if (!recorder.problems().empty()) doubt += std::format(" ({})", recorder.problems().begin()->first);
    outcome.doubts.push_back(std::move(doubt));
    return outcome;
  }
  const auto inferences = static_cast<double>(run.latency_ms().size());
  const double idle_mw = (energies[0].mean_mw + energies[2].mean_mw) / 2;
  const double seconds = std::chrono::duration<double>(load.end - load.begin).count();
  outcome.gross_mj = energies[1].energy_mj / inferences;
  outcome.net_mj = (energies[1].energy_mj - idle_mw * seconds) / inferences;
  if (*outcome.net_mj <= 0) {
    outcome.doubts.emplace_back("energy: the board uses no more under load than idle, as far as its sensor can tell");
  }
  return outcome;
}

}  // namespace finch::agent
