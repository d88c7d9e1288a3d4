// Who works on what: keeps the picture of the workers and their leases, carries out what the scheduler decides, and
// takes results in. No network and no clock: messages leave through `Links`, the time comes in. Not thread safe.
//
// A worker that is lost keeps its leases for `kGrace`, and its host stays as it was meanwhile; then they are released.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "controller/farm/farm_store.hpp"
#include "controller/farm/scheduler.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {

class Dispatcher {
 public:
  using Time = Scheduler::Time;

  static constexpr std::chrono::seconds kGrace{5};
  // For workers of an earlier server: their pause between two attempts to connect may have become long.
  static constexpr std::chrono::seconds kGraceAtStart{30};
  // For the answer to Pause and Cancel; who takes longer is disconnected.
  static constexpr std::chrono::seconds kAnswer{30};
  static constexpr std::chrono::milliseconds kProgressInterval{500};

  struct Links {
    std::function<void(const std::string& worker, const protocol::ToWorker&)> send;
    std::function<void(const std::string& worker, const std::string& why)> disconnect;
    std::function<bool(const std::string& sha256)> has_artifact;
    std::function<void(const std::string& line)> log;
  };

  // What is needed from workers of this machine (see local_workers.hpp) and is not connected now.
  struct LocalNeed {
    bool agent = false;
    bool trainer = false;
  };

  // `local_workers`: those started by the server itself, and ended with it.
  Dispatcher(FarmStore& store, Links links, std::set<std::string> local_workers);

  // Takes over the leases of an earlier server.
  void begin(Time now);
  // REQUIRES: no worker of that name is connected. Welcome has been sent.
  void connected(Time now, const std::string& worker, const protocol::Hello& hello);
  void lost(Time now, const std::string& worker, const std::string& why);
  bool is_connected(const std::string& worker) const;

  void take_progress(Time now, const std::string& worker, const protocol::Progress& progress);
  void take_paused(Time now, const std::string& worker, const protocol::Paused& paused);
  void take_result(Time now, const std::string& worker, const protocol::ResultReport& report);

  // Called often (every 50 ms or so): new and cancelled jobs, deadlines, turns. True when others wrote to the store.
  bool tick(Time now);

  LocalNeed local_need() const;
  // A local worker cannot be started: the jobs that nobody else can do fail with `why`.
  void fail_local(WorkerRole role, const std::string& why);

 private:
  struct Held {
    std::uint64_t token = 0;
    JobKind kind = JobKind::training;
    bool inherited = false;  // given by an earlier server
    bool cancelled = false;  // waits for the worker to say that nothing of it runs any more
    Time cancelled_at{}, progress_at{};
  };
  struct Worker {
    WorkerRole role = WorkerRole::agent;
    std::string host;
    bool connected = false;
    bool runs = true;  // false: ended with the earlier server, only its leases are left
    WorkerMotion motion = WorkerMotion::running;
    std::uint64_t pause_sequence = 0;
    Time pause_asked{}, deadline{};
    std::string why_lost;
    std::map<std::string, Held> leases;  // by job key
    protocol::DeviceDescription device;
  };
  enum class Blame { job, nobody };  // whether the lease counts as an attempt

  void keep_or_cancel(Time now, const std::string& name, Worker& worker, const protocol::LeaseRef& held,
                      std::map<std::string, Held>& before);
  std::expected<bool, Error> record(const std::string& name, const protocol::ResultReport& report);
  void cancel(Time now, const std::string& name, Worker& worker, const std::string& key, Held& lease);
  void give_up(const std::string& key, const Held& lease, const std::string& why, Blame blame);
  void refresh(Time now);
  void check_deadlines(Time now);
  void schedule(Time now);
  void carry_out(Time now, const Action& action);
  void lease(const std::string& name, Worker& worker, const QueuedJob& job);
  // Logs a store's error, each once in a row; true when there was none.
  template <typename T>
  bool good(const std::expected<T, Error>& value);

  FarmStore& store_;
  const Links links_;
  const std::set<std::string> local_workers_;
  Scheduler scheduler_;
  std::map<std::string, Worker> workers_;
  std::vector<QueuedJob> queue_;
  std::vector<JobView> views_;  // of queue_, in the same order
  bool changed_ = true;         // the queue or the leases were changed here
  std::int64_t seen_version_ = -2;
  std::string last_error_;
};

inline constexpr const char* kLocalAgent = "local";
inline constexpr const char* kLocalTrainer = "local-trainer";
// Beside it where a GPU has room for several trainings.
inline constexpr std::array kMoreLocalTrainers = {"local-trainer-2", "local-trainer-3", "local-trainer-4"};

}  // namespace finch::controller
