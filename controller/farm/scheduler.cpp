#include "controller/farm/scheduler.hpp"

#include <algorithm>
#include <set>

namespace finch::controller {

std::vector<Action> plan(std::span<const WorkerView> workers, std::span<const JobView> queued) {
  std::vector<Action> actions;
  std::set<std::string> quiet;       // hosts that measure, or are about to
  std::set<std::uint64_t> assigned;  // workers that got a job here
  for (const WorkerView& worker : workers) {
    if (worker.busy && worker.work == WorkKind::measure) quiet.insert(worker.host);
  }

  for (const JobView& job : queued) {
    if (job.kind != WorkKind::measure) continue;
    const auto agent =
        std::ranges::find_if(workers, [&](const WorkerView& w) { return w.agent && w.name == job.target && !w.busy; });
    if (agent == workers.end() || quiet.contains(agent->host)) continue;
    quiet.insert(agent->host);  // from now on nothing new starts there
    bool still = true;
    for (const WorkerView& other : workers) {
      if (other.host != agent->host || !other.busy) continue;
      still = still && other.paused;
      // An agent's evaluation is short: it is waited for, not stopped.
      if (!other.agent && !other.pause_sent) actions.push_back({Action::Kind::pause, other.id, ""});
    }
    if (!still) continue;
    actions.push_back({Action::Kind::lease, agent->id, job.key});
    assigned.insert(agent->id);
  }

  for (const WorkerView& worker : workers) {
    if (worker.pause_sent && !quiet.contains(worker.host)) actions.push_back({Action::Kind::resume, worker.id, ""});
  }

  for (const JobView& job : queued) {
    if (job.kind == WorkKind::measure) continue;
    const auto worker = std::ranges::find_if(workers, [&](const WorkerView& w) {
      const bool able = job.kind == WorkKind::evaluate ? w.agent && w.name == job.target : !w.agent;
      return able && !w.busy && !assigned.contains(w.id) && !quiet.contains(w.host);
    });
    if (worker == workers.end()) continue;
    actions.push_back({Action::Kind::lease, worker->id, job.key});
    assigned.insert(worker->id);
  }
  return actions;
}

}  // namespace finch::controller
