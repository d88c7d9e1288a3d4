// The worker's end of the wire, shared by finch-agent and finch-trainer: connects to the controller, keeps the
// connection alive, takes leases, moves artifacts, reports results; reconnects with backoff for ever.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <map>
#include <stop_token>
#include <string>

#include "protocol/error.hpp"

namespace finch::protocol {

class Hello;
class Job;
class JobResult;

// What a running job may ask of its worker. Thread safe.
class JobContext {
 public:
  virtual ~JobContext() = default;
  virtual void progress(double fraction, const std::string& message) = 0;
  // Stop was requested: the job was cancelled or the worker shuts down.
  virtual std::stop_token stop_token() const = 0;
  // Local files of all artifacts that the job names, fetched before run() was called: sha256 -> path.
  virtual const std::map<std::string, std::filesystem::path>& artifacts() const = 0;
  // An empty folder of this job. Files put there under their SHA-256 are taken as artifacts after run() returns.
  virtual const std::filesystem::path& output_folder() const = 0;
};

// What a worker does with its jobs. run() is called on one thread, one job at a time, the same for all jobs; the others
// from the network thread at any time, and must not block for more than a moment.
class JobHandler {
 public:
  virtual ~JobHandler() = default;
  // Who we are; called before every connection. `held` is filled in by the worker.
  virtual Hello hello() = 0;
  // A failure is a JobResult too. Never throws.
  virtual JobResult run(const Job& job, JobContext& context) = 0;
  // Stand still until resume(): this host measures. Returns when nothing of the job runs any more. It may come while
  // run() has not started its process yet, or twice; no run() begins before resume().
  virtual void pause() {}
  virtual void resume() {}
};

struct WorkerOptions {
  std::string host;  // of the controller
  std::uint16_t port = 0;
  // cert.pem, key.pem, authority.pem, written by join() or by the controller; artifacts/ is the cache.
  std::filesystem::path state_folder;
  // One line for the user; called from the network thread.
  std::function<void(const std::string&)> log{};
  // Called from the network thread this often, as long as that thread does its work. 0: never.
  std::function<void()> alive{};
  std::chrono::milliseconds alive_interval{};
};

// Runs until stop is requested, or until the controller refuses for good (then the error says why), and until run() has
// returned. A controller that is away, or that is another, is tried for ever. Results are kept in state_folder until
// they are acknowledged, also across restarts. Error too: state_folder is in use by another worker or not writable.
std::expected<void, Error> run_worker(const WorkerOptions& options, JobHandler& handler, std::stop_token stop);

struct Invitation {
  std::string host;
  std::uint16_t port = 0;
  std::string token;        // one-time
  std::string fingerprint;  // of the authority, "sha256:<hex>"
};

struct JoinedDevice {
  std::string name;
  std::string profile;
};

// Makes a key, has it certified by the controller, and writes the identity into `state_folder`.
// Errors: not reachable, another authority than the pinned one, token unknown or used.
std::expected<JoinedDevice, Error> join(const Invitation& invitation, const std::filesystem::path& state_folder);

}  // namespace finch::protocol
