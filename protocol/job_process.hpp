// A child process that runs jobs for a worker, so that a crash or an out-of-memory costs one job and a job can be
// stopped (SIGSTOP) and killed at any time. The child dies with the thread that started it: start it from one that
// lives as long as the process (a worker's job thread does). Thread safe where stated.
#pragma once

#include <expected>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "protocol/error.hpp"

namespace finch::protocol {

class ChildEvent;
class ChildRequest;

class JobProcess {
 public:
  // Starts `arguments[0]` (a path) with the given arguments; requests go to its stdin, events come from its file
  // descriptor 3; stdout and stderr are appended to `log_path` (or /dev/null when empty). It inherits no other
  // descriptor, and `environment` ("NAME=value") goes before the inherited one. It leads a process group of its own.
  // Errors: the program is missing or no program, the log is not writable.
  static std::expected<JobProcess, Error> start(const std::vector<std::string>& arguments,
                                                const std::string& log_path = {},
                                                const std::vector<std::string>& environment = {});
  JobProcess(JobProcess&&) noexcept;
  JobProcess& operator=(JobProcess&&) noexcept;
  ~JobProcess();  // kills and reaps

  // Sends the request and hands on events until the child gives a result. Error: the child died (says how: signal,
  // exit status, out of memory) or broke the framing, or stop was requested; it is dead then in any case.
  std::expected<ChildEvent, Error> run(const ChildRequest& request,
                                       const std::function<void(const ChildEvent&)>& on_progress, std::stop_token stop);
  // Safe from another thread, like the next two.
  bool alive() const;
  // SIGSTOP to the whole process group; returns once the kernel reports the child stopped. No-op when dead.
  void pause();
  void resume();

 private:
  struct State;
  explicit JobProcess(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The child's side: reads requests from stdin until it is closed, calls `serve` for each, writes what it emits to file
// descriptor 3. `serve` gives exactly one result event, last; emit is thread safe. Returns the exit status for main().
int serve_jobs(
    const std::function<void(const ChildRequest&, const std::function<void(const ChildEvent&)>& emit)>& serve);

}  // namespace finch::protocol
