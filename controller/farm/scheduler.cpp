#include "controller/farm/scheduler.hpp"

#include <algorithm>
#include <utility>

namespace finch::controller {

// One call of plan(): what is known about the hosts, and the actions so far.
class Scheduler::Round {
 public:
  Round(std::map<std::string, Host>& hosts, std::span<const WorkerView> workers, std::span<const JobView> jobs)
      : hosts_(hosts), workers_(workers.begin(), workers.end()), jobs_(jobs) {
    for (std::size_t i = 0; i < workers_.size(); ++i) {
      const WorkerView& worker = workers_[i];
      if (worker.role == WorkerRole::agent) agents_[worker.name] = i;
      by_host_[worker.host].push_back(i);
      if (worker.activity == WorkerActivity::measuring) quiet_.insert(worker.host);
      // Where it runs is not known, so it may be anywhere.
      if (worker.host.empty() && worker.activity == WorkerActivity::working) somebody_runs_somewhere_ = true;
    }
  }

  std::vector<Action> run() {
    begin_turns();
    serve_agents();
    set_motion();
    serve_trainers();
    remember();
    std::ranges::stable_sort(actions_, {}, [](const Action& action) {
      // A trainer must move before it gets a job, and must stop at once.
      return action.kind == Action::Kind::lease ? 1 : 0;
    });
    return std::move(actions_);
  }

 private:
  bool is_quiet(const std::string& host) const { return quiet_.contains(host); }

  bool trainers_wait(const std::string& host) const {
    const auto there = by_host_.find(host);
    return there != by_host_.end() && std::ranges::any_of(there->second, [&](std::size_t i) {
             const WorkerView& worker = workers_[i];
             if (worker.role != WorkerRole::trainer || !worker.connected) return false;
             return worker.activity != WorkerActivity::idle || std::ranges::any_of(jobs_, [&](const JobView& job) {
                      return job.kind == JobKind::training && (job.target.empty() || job.target == worker.name);
                    });
           });
  }

  void begin_turns() {
    for (auto& [name, host] : hosts_) {
      if (host.debt >= kLongestDebt) host.training_turn = true;
      if (host.debt <= Duration::zero() || !trainers_wait(name)) host.training_turn = false;
    }
  }

  // Measurements and evaluations, most urgent first.
  void serve_agents() {
    for (const JobView& job : jobs_) {
      if (job.kind == JobKind::training) continue;
      const auto found = agents_.find(job.target);
      if (found == agents_.end()) continue;
      WorkerView& agent = workers_[found->second];
      if (!agent.connected || agent.activity != WorkerActivity::idle || is_quiet(agent.host)) continue;
      if (job.kind == JobKind::evaluation) {
        lease(agent, job, WorkerActivity::working);
      } else if (!somebody_runs_somewhere_ && !hosts_[agent.host].training_turn) {
        // From here on the host is kept quiet, also while it waits for others to finish or to pause.
        quiet_.insert(agent.host);
        if (nothing_runs(agent.host)) lease(agent, job, WorkerActivity::measuring);
      }
    }
  }

  bool nothing_runs(const std::string& host) const {
    return std::ranges::none_of(by_host_.at(host), [&](std::size_t i) {
      const WorkerView& worker = workers_[i];
      if (worker.activity == WorkerActivity::idle) return false;
      return worker.role != WorkerRole::trainer || worker.motion != WorkerMotion::paused;
    });
  }

  void set_motion() {
    for (WorkerView& worker : workers_) {
      if (worker.role != WorkerRole::trainer || !worker.connected) continue;
      if (worker.motion == WorkerMotion::running) {
        if (!is_quiet(worker.host) || worker.activity == WorkerActivity::idle) continue;
        worker.motion = WorkerMotion::pausing;
        actions_.push_back({Action::Kind::pause, worker.name, {}});
      } else if (!is_quiet(worker.host)) {
        worker.motion = WorkerMotion::running;
        actions_.push_back({Action::Kind::resume, worker.name, {}});
      }
    }
  }

  void serve_trainers() {
    for (const JobView& job : jobs_) {
      if (job.kind != JobKind::training) continue;
      const auto trainer = std::ranges::find_if(workers_, [&](const WorkerView& worker) {
        return worker.role == WorkerRole::trainer && worker.connected && worker.activity == WorkerActivity::idle &&
               worker.motion == WorkerMotion::running && !is_quiet(worker.host) &&
               (job.target.empty() || job.target == worker.name);
      });
      if (trainer != workers_.end()) lease(*trainer, job, WorkerActivity::working);
    }
  }

  void lease(WorkerView& worker, const JobView& job, WorkerActivity activity) {
    worker.activity = activity;
    actions_.push_back({Action::Kind::lease, worker.name, job.key});
  }

  // For account() at the next call.
  void remember() {
    for (auto& [name, host] : hosts_) host.quiet = host.keeps_waiting = false;
    for (const std::string& name : quiet_) {
      Host& host = hosts_[name];
      host.quiet = true;
      host.keeps_waiting = trainers_wait(name);
    }
    std::erase_if(hosts_, [](const auto& entry) {
      return !entry.second.quiet && entry.second.debt <= Duration::zero() && !entry.second.training_turn;
    });
  }

  std::map<std::string, Host>& hosts_;
  std::vector<WorkerView> workers_;
  std::span<const JobView> jobs_;
  std::map<std::string, std::size_t> agents_;  // by name; indices of workers_
  std::map<std::string, std::vector<std::size_t>> by_host_;
  std::set<std::string> quiet_;  // hosts that measure or are about to
  bool somebody_runs_somewhere_ = false;
  std::vector<Action> actions_;
};

void Scheduler::account(Duration passed) {
  // Paid back so that of a debt and its turn together the trainers have their share.
  constexpr double kPayback = (1 - kTrainerShare) / kTrainerShare;
  for (auto& [name, host] : hosts_) {
    if (!host.quiet) {
      const auto paid = std::chrono::duration_cast<Duration>(passed * kPayback);
      host.debt = std::max(Duration::zero(), host.debt - paid);
    } else if (host.keeps_waiting) {
      host.debt += passed;
    }
  }
}

std::vector<Action> Scheduler::plan(Time now, std::span<const WorkerView> workers, std::span<const JobView> jobs) {
  account(last_ == Time{} ? Duration::zero() : now - last_);
  last_ = now;
  return Round(hosts_, workers, jobs).run();
}

}  // namespace finch::controller
