// The farm's memory (farm.db, SQLite in WAL mode): jobs, their results, devices, invitations. It is the one meeting
// point of campaigns and of whoever serves the farm, in one process or in several: a campaign submits jobs and looks
// for results, the server leases them to workers. Every call is one committed transaction.
//
// A job's key is the hash of all that its result depends on, so a finished job is also the cache: submitting it again
// gives the recorded result at once. Thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "controller/error.hpp"

namespace finch::protocol {
class DeviceDescription;
class Job;
class JobResult;
}  // namespace finch::protocol

namespace finch::controller {

enum class JobState { queued, leased, done, failed, cancelled };

struct JobStatus {
  std::string key;
  JobState state = JobState::queued;
  std::string worker;       // who holds or held it
  std::uint64_t token = 0;  // of the present or last lease
  int attempts = 0;         // leases given so far
  double progress = 0;      // 0..1 of the running lease
  std::string message;      // of the running lease
  std::string result;       // serialized protocol::JobResult; empty before done or failed
  bool existed = false;     // from submit(): another campaign had wanted the job before, this one had not
};

struct Submission {
  std::string key;
  std::string campaign;  // who wants it; a job may be wanted by several
  std::string target;    // device name for measure and evaluate; empty: any trainer
  int priority = 0;      // greater first, then oldest first
  std::string job;       // serialized protocol::Job
};

struct QueuedJob {
  std::string key;
  std::string target;
  int priority = 0;
  std::string job;
};

struct FinishedJob {
  std::string key;
  std::string job;     // serialized protocol::Job
  std::string result;  // serialized protocol::JobResult
};

struct DeviceRecord {
  std::string name;
  std::string profile;
  std::string description;  // serialized protocol::DeviceDescription; empty: invited, never seen
  bool connected = false;
  std::string last_seen;  // UTC, ISO 8601
};

class FarmStore {
 public:
  // Errors: not writable, damaged, written by a newer Finch, disk full.
  static std::expected<FarmStore, Error> open(const std::filesystem::path& file);
  FarmStore(FarmStore&&) noexcept;
  FarmStore& operator=(FarmStore&&) noexcept;
  ~FarmStore();

  // For campaigns -----------------------------------------------------------------------------------------------
  // Idempotent. A job that failed or was cancelled is queued anew; one that is done stays done.
  std::expected<JobStatus, Error> submit(const Submission& submission);
  std::expected<std::optional<JobStatus>, Error> find(const std::string& key);
  // All that ended well, oldest first.
  std::expected<std::vector<FinishedJob>, Error> finished();
  // A job that is done is queued anew: its result is of no use any more.
  std::expected<void, Error> forget_result(const std::string& key);
  // The campaign no longer wants its unfinished jobs (all, or those named); those nobody wants are cancelled.
  std::expected<void, Error> withdraw(const std::string& campaign, std::span<const std::string> keys = {});
  // How many unfinished jobs wait for each connected device or run there.
  std::expected<std::map<std::string, std::int64_t>, Error> loads();
  // Changes whenever another connection or process wrote: cheap to poll.
  std::int64_t data_version();

  // For the server ----------------------------------------------------------------------------------------------
  std::expected<std::vector<QueuedJob>, Error> queued();
  std::expected<std::optional<QueuedJob>, Error> job(const std::string& key);  // in whatever state
  // Gives a fencing token greater than all before; nothing when the job is no longer queued.
  std::expected<std::optional<std::uint64_t>, Error> lease(const std::string& key, const std::string& worker);
  // True when the lease (key, token) is still the present one: a worker that reconnects may keep it.
  std::expected<bool, Error> holds(const std::string& key, std::uint64_t token);
  std::expected<void, Error> report_progress(const std::string& key, std::uint64_t token, double fraction,
                                             const std::string& message);
  // Records the result exactly once; false when the token is stale or the job is finished already.
  std::expected<bool, Error> complete(const std::string& key, std::uint64_t token, const std::string& result,
                                      bool failed);
  // Back into the queue after a crash or a lost connection; after `max_attempts` leases it fails with `why`.
  std::expected<void, Error> release(const std::string& key, std::uint64_t token, const std::string& why,
                                     int max_attempts = 4);
  // Back into the queue through no fault of the job or its worker (the server was stopped): the lease does not count.
  std::expected<void, Error> requeue(const std::string& key, std::uint64_t token);
  // Leases that were given by an earlier server: their workers may come back until a deadline.
  std::expected<std::vector<JobStatus>, Error> leased();

  // Devices (also trainers on other machines: whatever was invited) ---------------------------------------------
  // A device of this machine's own, which needs no invitation.
  std::expected<void, Error> admit(const std::string& name);
  // Connected or disconnected now. One that was forgotten meanwhile stays forgotten.
  std::expected<void, Error> device_seen(const protocol::DeviceDescription& description, bool connected);
  std::expected<void, Error> disconnect_all();
  std::expected<std::vector<DeviceRecord>, Error> devices();
  std::expected<std::set<std::string>, Error> admitted();  // names of the devices that may connect
  // One-time token, valid for `hours`; only its hash is kept; replaces an earlier one of that name. Errors: a device of
  // that name has connected already; the name is reserved, or not of letters, digits, '.', '_', '-'.
  std::expected<std::string, Error> invite(const std::string& name, const std::string& profile, int hours = 24);
  // Consumes it and admits the device; nothing when unknown, used or expired.
  std::expected<std::optional<DeviceRecord>, Error> redeem(const std::string& token);
  // It may not connect any more, until it is invited and joins anew. Error: no such device.
  std::expected<void, Error> forget_device(const std::string& name);

 private:
  struct State;
  explicit FarmStore(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace finch::controller
