// A campaign without a farm: up to `workers` candidates in flight, whose results arrive in an order drawn from
// `order_seed`; and its event log, to be replayed. Not thread safe.
#pragma once

#include <functional>
#include <map>
#include <random>
#include <vector>

#include "search/search_algorithm.hpp"

namespace finch::search {

struct Event {
  std::size_t asked = 0;  // 0: a tell
  CandidateId told = 0;
  Outcome outcome;
};

struct SimulatedCampaign {
  std::function<Outcome(const Genotype&)> evaluate;
  std::size_t workers = 4;
  std::uint64_t order_seed = 1;

  std::vector<Event> events = {};
  std::vector<Proposal> proposals = {};
  std::map<CandidateId, Outcome> outcomes = {};

  void run(SearchAlgorithm& algorithm, std::size_t evaluations) {
    std::mt19937_64 order(order_seed);
    std::vector<Proposal> in_flight;
    while (outcomes.size() < evaluations) {
      // As a controller does when several workers become free at once.
      const std::size_t free = std::min(workers - in_flight.size(), evaluations - proposals.size());
      if (free > 0) {
        events.push_back({.asked = free, .told = 0, .outcome = {}});
        for (Proposal& proposal : algorithm.ask(free)) {
          proposals.push_back(proposal);
          in_flight.push_back(std::move(proposal));
        }
      }
      if (in_flight.empty()) return;
      const auto done = in_flight.begin() + static_cast<std::ptrdiff_t>(order() % in_flight.size());
      const Outcome outcome = evaluate(done->genotype);
      events.push_back({.asked = 0, .told = done->id, .outcome = outcome});
      algorithm.tell(done->id, outcome);
      outcomes.emplace(done->id, outcome);
      in_flight.erase(done);
    }
  }
};

inline std::vector<Proposal> replay(SearchAlgorithm& algorithm, const std::vector<Event>& events) {
  std::vector<Proposal> proposals = {};
  for (const Event& event : events) {
    if (event.asked > 0) {
      for (Proposal& proposal : algorithm.ask(event.asked)) proposals.push_back(std::move(proposal));
    } else {
      algorithm.tell(event.told, event.outcome);
    }
  }
  return proposals;
}

}  // namespace finch::search
