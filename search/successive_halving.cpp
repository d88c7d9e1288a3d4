#include "search/successive_halving.hpp"

#include <algorithm>
#include <cassert>
#include <cmath>

#include "search/pareto_front.hpp"

namespace finch::search {

SuccessiveHalving::SuccessiveHalving(std::size_t rungs, double reduction) : reduction_(reduction), rungs_(rungs) {
  assert(rungs >= 1 && reduction > 1);
}

double SuccessiveHalving::share(std::size_t rung) const {
  return std::pow(reduction_, static_cast<double>(rung + 1) - static_cast<double>(rungs_.size()));
}

double SuccessiveHalving::expected_share() const {
  double expected = share(0);
  for (std::size_t rung = 1; rung < rungs(); ++rung)
    expected += (share(rung) - share(rung - 1)) * std::pow(reduction_, -static_cast<double>(rung));
  return expected;
}

bool SuccessiveHalving::report(CandidateId id, std::size_t rung, std::span<const double> objectives) {
  auto& here = rungs_.at(rung);
  assert(!here.contains(id));
  here.emplace(id, std::vector(objectives.begin(), objectives.end()));
  if (rung + 1 == rungs_.size()) return false;
  std::vector<std::vector<double>> points;
  std::size_t own = 0;
  for (const auto& [other, reached] : here) {
    if (other == id) own = points.size();
    points.push_back(reached);
  }
  const auto allowed = static_cast<std::size_t>(std::ceil(static_cast<double>(points.size()) / reduction_));
  std::size_t before = 0;
  for (const auto& front : non_dominated_sort(points)) {
    const auto found = std::ranges::find(front, own);
    if (found == front.end()) {
      before += front.size();
      continue;
    }
    std::vector<std::vector<double>> members;
    for (const std::size_t i : front) members.push_back(points[i]);
    const std::vector<double> crowding = crowding_distance(members);
    const double mine = crowding[static_cast<std::size_t>(found - front.begin())];
    before += static_cast<std::size_t>(std::ranges::count_if(crowding, [&](double other) { return other > mine; }));
    break;
  }
  return before < allowed;
}

double SuccessiveHalving::at_the_end(std::size_t rung, double value) const {
  std::vector<double> ratios;
  for (const auto& [id, reached] : rungs_.at(rung)) {
    const auto last = rungs_.back().find(id);
    if (last != rungs_.back().end() && reached.front() > 0) ratios.push_back(last->second.front() / reached.front());
  }
  if (ratios.empty()) return value;
  const auto middle = ratios.begin() + static_cast<std::ptrdiff_t>(ratios.size() / 2);
  std::ranges::nth_element(ratios, middle);
  return value * *middle;
}

}  // namespace finch::search
