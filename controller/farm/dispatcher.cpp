#include "controller/farm/dispatcher.hpp"

#include <algorithm>
#include <format>
#include <utility>

#include "protocol/artifact_references.hpp"

namespace finch::controller {
namespace {

using protocol::ToWorker;

JobKind kind_of(const std::string& bytes) {
  protocol::Job job;
  job.ParseFromString(bytes);
  if (job.has_measure() || job.has_calibrate()) return JobKind::measurement;
  return job.has_evaluate() || job.has_compute_logits() ? JobKind::evaluation : JobKind::training;
}

void fill(protocol::LeaseRef& out, const std::string& key, std::uint64_t token) {
  out.set_job_key(key);
  out.set_token(token);
}

}  // namespace

Dispatcher::Dispatcher(FarmStore& store, Links links, std::set<std::string> local_workers)
    : store_(store), links_(std::move(links)), local_workers_(std::move(local_workers)) {}

template <typename T>
bool Dispatcher::good(const std::expected<T, Error>& value) {
  if (value) return true;
  if (value.error().message != last_error_) links_.log(value.error().message);
  last_error_ = value.error().message;
  return false;
}

void Dispatcher::begin(Time now) {
  good(store_.disconnect_all());
  const auto leased = store_.leased();
  if (!good(leased)) return;
  for (const JobStatus& status : *leased) {
    const auto job = store_.job(status.key);
    if (!good(job) || !*job) continue;
    const JobKind kind = kind_of((*job)->job);
    Worker& worker = workers_[status.worker];
    worker.role = kind == JobKind::training ? WorkerRole::trainer : WorkerRole::agent;
    worker.runs = !local_workers_.contains(status.worker);
    worker.deadline = now + kGraceAtStart;
    worker.why_lost = "it did not come back after the controller was restarted";
    worker.leases[status.key] = {.token = status.token, .kind = kind, .inherited = true};
  }
}

bool Dispatcher::is_connected(const std::string& name) const {
  const auto worker = workers_.find(name);
  return worker != workers_.end() && worker->second.connected;
}

void Dispatcher::connected(Time now, const std::string& name, const protocol::Hello& hello) {
  Worker& worker = workers_[name];
  worker.role = hello.role() == protocol::AGENT ? WorkerRole::agent : WorkerRole::trainer;
  // Who does not say where it runs is taken to be alone there.
  worker.host = hello.host().empty() ? name : hello.host();
  worker.connected = worker.runs = true;
  worker.motion = WorkerMotion::running;
  worker.device = hello.device();
  worker.device.set_name(name);
  if (worker.role == WorkerRole::agent) {
    if (local_workers_.contains(name)) good(store_.admit(name));
    good(store_.device_seen(worker.device, true));
  }
  auto before = std::exchange(worker.leases, {});
  for (const auto& held : hello.held()) keep_or_cancel(now, name, worker, held, before);
  for (const auto& [key, lease] : before) {
    // It knows nothing of this lease: it was started anew, or the lease never reached it.
    give_up(key, lease, std::format("{} was started anew", name), lease.inherited ? Blame::nobody : Blame::job);
  }
  schedule(now);
}

void Dispatcher::keep_or_cancel(Time now, const std::string& name, Worker& worker, const protocol::LeaseRef& held,
                                std::map<std::string, Held>& before) {
  const auto known = before.find(held.job_key());
  Held lease{.token = held.token()};
  bool valid = known != before.end() && known->second.token == held.token() && !known->second.cancelled;
  if (valid) {
    lease = known->second;
    before.erase(known);
    const auto holds = store_.holds(held.job_key(), held.token());
    valid = good(holds) && *holds;
  }
  if (valid && lease.inherited && lease.kind == JobKind::measurement) {
    // While no server kept its host quiet, a trainer may have run beside it.
    give_up(held.job_key(), lease, "", Blame::nobody);
    valid = false;
  }
  Held& kept = worker.leases[held.job_key()] = lease;
  kept.inherited = false;
  if (!valid) cancel(now, name, worker, held.job_key(), kept);
}

void Dispatcher::lost(Time now, const std::string& name, const std::string& why) {
  const auto found = workers_.find(name);
  if (found == workers_.end()) return;
  Worker& worker = found->second;
  if (worker.role == WorkerRole::agent) good(store_.device_seen(worker.device, false));
  // Nobody waits for what was cancelled.
  std::erase_if(worker.leases, [](const auto& lease) { return lease.second.cancelled; });
  worker.connected = false;
  worker.deadline = now + kGrace;
  worker.why_lost = why;
  // Who has stopped stands still until it is back; who was asked to may not have heard it.
  if (worker.motion == WorkerMotion::pausing) worker.motion = WorkerMotion::running;
  if (worker.leases.empty()) workers_.erase(found);
  schedule(now);
}

void Dispatcher::cancel(Time now, const std::string& name, Worker& worker, const std::string& key, Held& lease) {
  lease.cancelled = true;
  lease.cancelled_at = now;
  if (!worker.connected) return;
  ToWorker out;
  fill(*out.mutable_cancel()->mutable_lease(), key, lease.token);
  links_.send(name, out);
}

void Dispatcher::give_up(const std::string& key, const Held& lease, const std::string& why, Blame blame) {
  good(blame == Blame::nobody ? store_.requeue(key, lease.token) : store_.release(key, lease.token, why));
  changed_ = true;
}

void Dispatcher::take_progress(Time now, const std::string& name, const protocol::Progress& progress) {
  const auto worker = workers_.find(name);
  if (worker == workers_.end()) return;
  const auto lease = worker->second.leases.find(progress.lease().job_key());
  if (lease == worker->second.leases.end() || lease->second.token != progress.lease().token()) return;
  if (lease->second.cancelled || now - lease->second.progress_at < kProgressInterval) return;
  lease->second.progress_at = now;
  good(store_.report_progress(lease->first, lease->second.token, std::clamp(progress.fraction(), 0.0, 1.0),
                              progress.message()));
}

void Dispatcher::take_paused(Time now, const std::string& name, const protocol::Paused& paused) {
  const auto worker = workers_.find(name);
  if (worker == workers_.end() || worker->second.motion != WorkerMotion::pausing) return;
  if (paused.sequence() != worker->second.pause_sequence) return;
  worker->second.motion = WorkerMotion::paused;
  schedule(now);
}

void Dispatcher::take_result(Time now, const std::string& name, const protocol::ResultReport& report) {
  const std::string& key = report.lease().job_key();
  const std::uint64_t token = report.lease().token();
  Worker& worker = workers_.at(name);
  const auto held = worker.leases.find(key);
  const bool ours = held != worker.leases.end() && held->second.token == token;
  // Of a cancelled job this says that nothing of it runs any more.
  const auto accepted = ours && held->second.cancelled ? false : record(name, report);
  // Not acknowledged: the worker keeps it, and sends it again when it is back.
  if (!good(accepted)) return links_.disconnect(name, "its result cannot be recorded now");
  if (ours) worker.leases.erase(held);
  if (report.result().has_device()) {
    worker.device = report.result().device();
    worker.device.set_name(name);
    good(store_.device_seen(worker.device, true));
  }
  ToWorker out;
  *out.mutable_result_ack()->mutable_lease() = report.lease();
  out.mutable_result_ack()->set_accepted(*accepted);
  links_.send(name, out);
  changed_ = true;
  schedule(now);
}

// True when the job is settled by it.
std::expected<bool, Error> Dispatcher::record(const std::string& name, const protocol::ResultReport& report) {
  const std::string& key = report.lease().job_key();
  const std::uint64_t token = report.lease().token();
  const protocol::JobResult& result = report.result();
  for (const auto& artifact : protocol::artifacts_named_by(result)) {
    if (links_.has_artifact(artifact.sha256)) continue;
    return store_.release(key, token, std::format("its artifact {} never arrived", artifact.sha256)).transform([] {
      return false;
    });
  }
  if (result.failure().retryable()) {
    links_.log(std::format("{}: {}; it is tried again", name, result.failure().message()));
    return store_.release(key, token, result.failure().message()).transform([] { return true; });
  }
  return store_.complete(key, token, result.SerializeAsString(), result.has_failure());
}

bool Dispatcher::tick(Time now) {
  const auto version = store_.data_version();
  const bool written = version != std::exchange(seen_version_, version);
  if (written) changed_ = true;
  check_deadlines(now);
  if (changed_ || scheduler_.waits_for_time()) schedule(now);
  return written;
}

void Dispatcher::refresh(Time now) {
  auto queued = store_.queued();
  const auto leased = store_.leased();
  if (!good(queued) || !good(leased)) return;
  changed_ = false;
  queue_ = std::move(*queued);
  views_.clear();
  for (const QueuedJob& job : queue_) views_.push_back({job.key, kind_of(job.job), job.target});

  std::map<std::string, std::uint64_t> tokens;
  for (const JobStatus& status : *leased) tokens[status.key] = status.token;
  for (auto& [name, worker] : workers_) {
    for (auto lease = worker.leases.begin(); lease != worker.leases.end();) {
      const auto valid = tokens.find(lease->first);
      if (lease->second.cancelled || (valid != tokens.end() && valid->second == lease->second.token)) {
        ++lease;
      } else if (worker.connected) {
        cancel(now, name, worker, lease->first, lease->second);
        ++lease;
      } else {
        lease = worker.leases.erase(lease);
      }
    }
  }
}

void Dispatcher::check_deadlines(Time now) {
  std::map<std::string, std::string> unresponsive;
  const auto overdue = [now](Time& asked) {
    if (now - asked < kAnswer) return false;
    asked = now;  // the connection takes a moment to end
    return true;
  };
  for (auto worker = workers_.begin(); worker != workers_.end();) {
    auto& [name, state] = *worker;
    if (!state.connected && (now >= state.deadline || state.leases.empty())) {
      for (const auto& [key, lease] : state.leases) {
        give_up(key, lease, std::format("{} was lost: {}", name, state.why_lost),
                lease.inherited ? Blame::nobody : Blame::job);
      }
      worker = workers_.erase(worker);
      continue;
    }
    if (state.connected && state.motion == WorkerMotion::pausing && overdue(state.pause_asked)) {
      unresponsive[name] = "it does not stand still when it is asked to";
    }
    for (auto& [key, lease] : state.leases) {
      if (state.connected && lease.cancelled && overdue(lease.cancelled_at)) {
        unresponsive[name] = "it does not end a cancelled job";
      }
    }
    ++worker;
  }
  for (const auto& [name, why] : unresponsive) {
    links_.log(std::format("{} is disconnected: {}", name, why));
    links_.disconnect(name, why);
  }
}

void Dispatcher::schedule(Time now) {
  if (changed_) refresh(now);
  std::vector<WorkerView> workers;
  for (const auto& [name, worker] : workers_) {
    if (!worker.runs) continue;
    WorkerView view{
        .name = name, .role = worker.role, .host = worker.host, .motion = worker.motion, .connected = worker.connected};
    for (const auto& [key, lease] : worker.leases) {
      if (lease.kind == JobKind::measurement) view.activity = WorkerActivity::measuring;
      if (view.activity == WorkerActivity::idle) view.activity = WorkerActivity::working;
    }
    workers.push_back(std::move(view));
  }
  for (const Action& action : scheduler_.plan(now, workers, views_)) carry_out(now, action);
}

void Dispatcher::carry_out(Time now, const Action& action) {
  Worker& worker = workers_.at(action.worker);
  ToWorker out;
  switch (action.kind) {
    case Action::Kind::pause:
      worker.motion = WorkerMotion::pausing;
      worker.pause_asked = now;
      out.mutable_pause()->set_sequence(++worker.pause_sequence);
      return links_.send(action.worker, out);
    case Action::Kind::resume:
      worker.motion = WorkerMotion::running;
      out.mutable_resume();
      return links_.send(action.worker, out);
    case Action::Kind::lease:
      const auto job = std::ranges::find(queue_, action.job_key, &QueuedJob::key);
      return lease(action.worker, worker, *job);
  }
}

void Dispatcher::lease(const std::string& name, Worker& worker, const QueuedJob& job) {
  const auto token = store_.lease(job.key, name);
  if (!good(token)) return;
  changed_ = true;
  if (!*token) return;  // withdrawn a moment ago
  ToWorker out;
  fill(*out.mutable_lease()->mutable_lease(), job.key, **token);
  out.mutable_lease()->mutable_job()->ParseFromString(job.job);
  worker.leases[job.key] = {.token = **token, .kind = kind_of(job.job)};
  links_.send(name, out);
}

Dispatcher::LocalNeed Dispatcher::local_need() const {
  const auto agent = workers_.find(kLocalAgent);
  const bool measures = agent != workers_.end() && agent->second.connected &&
                        std::ranges::any_of(agent->second.leases, [](const auto& lease) {
                          return lease.second.kind == JobKind::measurement;
                        });
  const bool trainer_there = std::ranges::any_of(
      workers_, [](const auto& entry) { return entry.second.connected && entry.second.role == WorkerRole::trainer; });
  const auto waits = [&](const char* name, auto&& wants) {
    if (is_connected(name)) return false;
    return workers_.contains(name) || std::ranges::any_of(views_, wants);
  };
  // A campaign must know its device before it can ask anything of it: the agent, which costs nothing idle, is always
  // there.
  return {.agent = !is_connected(kLocalAgent),
          // Its start would disturb a measurement here.
          .trainer = !measures && waits(kLocalTrainer, [&](const JobView& job) {
            return job.kind == JobKind::training && (job.target.empty() ? !trainer_there : job.target == kLocalTrainer);
          })};
}

void Dispatcher::fail_local(WorkerRole role, const std::string& why) {
  const std::string name = role == WorkerRole::agent ? kLocalAgent : kLocalTrainer;
  if (is_connected(name)) return;
  protocol::JobResult result;
  result.mutable_failure()->set_message(why);
  for (const JobView& job : views_) {
    const bool concerned = role == WorkerRole::agent
                               ? job.kind != JobKind::training && job.target == name
                               : job.kind == JobKind::training && (job.target.empty() || job.target == name);
    if (!concerned) continue;
    const auto token = store_.lease(job.key, name);
    if (good(token) && *token) good(store_.complete(job.key, **token, result.SerializeAsString(), true));
  }
  changed_ = true;
}

}  // namespace finch::controller
