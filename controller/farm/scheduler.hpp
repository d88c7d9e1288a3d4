// Decides what the farm does next: which job goes to which worker, and which trainer stands still because its host
// measures. Pure logic without clock or I/O. Not thread safe.
//
// Rules: a measurement starts only on a host where nothing else runs: agents there are idle, trainers with a job are
// paused and have said so. While it runs, nothing is leased on that host. Measurements in a row keep the trainers
// paused, but trainers with work get at least `kTrainerShare` of the time. Greater priority first, then oldest.
#pragma once

#include <chrono>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

namespace finch::controller {

enum class WorkerRole { agent, trainer };
enum class WorkerActivity { idle, working, measuring };
enum class WorkerMotion { running, pausing, paused };  // pausing: was asked to, has not answered yet

struct WorkerView {
  std::string name;
  WorkerRole role = WorkerRole::agent;
  std::string host;  // empty: not known (held a job before the server was restarted, has not come back yet)
  WorkerActivity activity = WorkerActivity::idle;
  WorkerMotion motion = WorkerMotion::running;
  // False: lost a moment ago. What it was doing may still run; if it stood still, it does so until it is back.
  bool connected = true;
};

enum class JobKind { training, evaluation, measurement };

struct JobView {
  std::string key;
  JobKind kind = JobKind::training;
  std::string target;  // the worker's name; empty: any trainer
};

struct Action {
  enum class Kind { pause, resume, lease } kind;
  std::string worker;
  std::string job_key;  // of a lease
  bool operator==(const Action&) const = default;
};

class Scheduler {
 public:
  using Time = std::chrono::steady_clock::time_point;
  using Duration = std::chrono::steady_clock::duration;

  // Trainers that have work may stand still for so long; then no measurement begins on their host until they have
  // had their share.
  static constexpr Duration kLongestDebt = std::chrono::seconds(60);
  static constexpr double kTrainerShare = 0.2;

  // What to do now, in this order. `jobs`: queued, most urgent first. Time must not go backwards. The caller carries
  // every action out, or shows the next call that it could not.
  std::vector<Action> plan(Time now, std::span<const WorkerView> workers, std::span<const JobView> jobs);
  // Whether plan() may decide otherwise just because time has passed.
  bool waits_for_time() const { return !hosts_.empty(); }

 private:
  // How long the trainers of a host have been kept from their work, less what they have got back since.
  struct Host {
    Duration debt{};
    bool quiet = false;          // kept quiet since the last plan,
    bool keeps_waiting = false;  // and trainers had work meanwhile
    bool training_turn = false;  // until the debt is paid
  };
  class Round;

  void account(Duration passed);

  Time last_{};
  std::map<std::string, Host> hosts_;
};

}  // namespace finch::controller
