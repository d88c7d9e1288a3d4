#include "controller/campaign/finalist_choice.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "search/pareto_front.hpp"

namespace finch::controller {

std::vector<search::CandidateId> choose_finalists(const CampaignState& state) {
  std::vector<search::CandidateId> ids;
  std::vector<std::vector<double>> points;
  std::vector<double> latencies;  // logarithms
  // Finalists are trained on: where no candidate is accurate enough yet, some may become so.
  const bool any = std::ranges::any_of(state.candidates, [](const auto& entry) { return entry.second.evaluated(); });
  for (const auto& [id, candidate] : state.candidates) {
    if (candidate.outcome != (any ? kEvaluated : kInaccurate)) continue;
    ids.push_back(id);
    points.push_back(candidate.told->objectives);
    latencies.push_back(std::log(worst_latency_ms(candidate.screens)));
  }
  const auto count = static_cast<std::size_t>(state.config.finalists.count);
  std::vector<std::size_t> chosen;
  for (const auto& front : search::non_dominated_sort(points)) {
    std::vector<std::size_t> left = front;
    while (!left.empty() && chosen.size() < count) {
      const auto distance = [&](std::size_t i) {
        double least = std::numeric_limits<double>::infinity();
        for (const std::size_t other : chosen) least = std::min(least, std::abs(latencies[i] - latencies[other]));
        return std::pair(least, latencies[i]);
      };
      const auto next = std::ranges::max_element(left, {}, distance);
      chosen.push_back(*next);
      left.erase(next);
    }
  }
  std::vector<search::CandidateId> finalists;
  for (const std::size_t i : chosen) finalists.push_back(ids[i]);
  for (const search::CandidateId id : state.former_finalists) {
    if (std::ranges::contains(ids, id) && !std::ranges::contains(finalists, id)) finalists.push_back(id);
  }
  return finalists;
}

}  // namespace finch::controller
