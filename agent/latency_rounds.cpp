#include "agent/latency_rounds.hpp"

#include <algorithm>
#include <deque>
#include <random>
#include <span>

#include "agent/latency_statistics.hpp"

namespace finch::agent {
namespace {

// Runs for at least `duration` and `queries`; appends every latency in milliseconds.
std::expected<void, Error> run_block(InferenceSession& session, Seconds duration, int queries, const Clock& clock,
                                     std::vector<double>& latencies_ms) {
  const auto start = clock();
  auto before = start;
  for (int done = 0; done < queries || before - start < duration; ++done) {
    if (auto ran = session.run(); !ran) return ran;
    const auto after = clock();
    latencies_ms.push_back(std::chrono::duration<double, std::milli>(after - before).count());
    before = after;
  }
  return {};
}

}  // namespace

std::expected<bool, Error> warm_up(InferenceSession& session, const WarmUpPlan& plan, const Clock& clock) {
  constexpr int kWindows = 3;
  // Short enough that the minimum holds them all, with room for the first, cold one.
  const Seconds window = plan.minimum / (kWindows + 2);
  const auto start = clock();
  std::deque<double> medians;
  int runs = 0;
  while (true) {
    std::vector<double> latencies;
    if (auto ran = run_block(session, window, 1, clock, latencies); !ran) return std::unexpected(ran.error());
    runs += static_cast<int>(latencies.size());
    medians.push_back(median(latencies));
    if (medians.size() > kWindows) medians.pop_front();
    const auto elapsed = clock() - start;
    if (medians.size() == kWindows && runs >= plan.minimum_runs && elapsed >= plan.minimum) {
      const auto [low, high] = std::ranges::minmax(medians);
      if (high <= low * (1 + plan.agreement)) return true;
      if (elapsed >= plan.cap) return false;
    }
  }
}

std::expected<LaunchLatencies, Error> measure_rounds(InferenceSession& candidate, InferenceSession& reference,
                                                     const RoundPlan& plan, const Clock& clock,
                                                     const std::function<void(int)>& on_round) {
  LaunchLatencies latencies;
  std::mt19937_64 random(plan.seed);
  for (int round = 0; round < plan.rounds; ++round) {
    const std::size_t first = latencies.candidate_ms.size();
    std::vector<double> reference_ms;
    const bool candidate_first = (random() & 1U) != 0;
    for (const bool run_candidate : {candidate_first, !candidate_first}) {
      auto ran = run_candidate ? run_block(candidate, plan.candidate_block, std::max(plan.candidate_block_queries, 1),
                                           clock, latencies.candidate_ms)
                               : run_block(reference, plan.reference_block, 1, clock, reference_ms);
      if (!ran) return std::unexpected(ran.error());
    }
    latencies.candidate_median_ms.push_back(median(std::span(latencies.candidate_ms).subspan(first)));
    latencies.reference_median_ms.push_back(median(reference_ms));
    if (on_round) on_round(round + 1);
  }
  return latencies;
}

}  // namespace finch::agent
