// Which candidates become finalists. A pure function; thread safe.
#pragma once

#include <vector>

#include "controller/campaign/campaign_state.hpp"

namespace finch::controller {

// finalists.count candidates, fewer where there are not so many, that were evaluated and keep the constraints: from the
// Pareto front first its slowest, then whatever is farthest in latency from all that were chosen; then likewise from
// the fronts below it, for a candidate that lost narrowly after little training may win after much. Then those that
// were finalists before the campaign was extended and keep the constraints as they are now: their training is paid for.
std::vector<search::CandidateId> choose_finalists(const CampaignState& state);

}  // namespace finch::controller
