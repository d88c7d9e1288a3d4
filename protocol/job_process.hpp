// A child process that runs jobs for a worker, so that a crash or an out-of-memory costs one job and a job can be
// stopped (SIGSTOP) and killed at any time. The child dies with its parent. Thread safe where stated.
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
  // descriptor 3; stdout and stderr are `log_path` (or /dev/null when empty).
  static std::expected<JobProcess, Error> start(const std::vector<std::string>& arguments,
                                                const std::string& log_path = {},
                                                const std::vector<std::string>& environment = {});
  JobProcess(JobProcess&&) noexcept;
  JobProcess& operator=(JobProcess&&) noexcept;
  ~JobProcess();  // kills and reaps

  // Sends the request and hands on events until the child gives a result. Error: the child died (says how: signal,
  // exit status, probably out of memory) or stop was requested (the child is killed then).
  std::expected<ChildEvent, Error> run(const ChildRequest& request,
                                       const std::function<void(const ChildEvent&)>& on_progress, std::stop_token stop);
  bool alive() const;
  // SIGSTOP to the whole process; returns once the kernel reports it stopped. Safe from another thread, no-op when
  // dead.
  void pause();
  void resume();

 private:
  struct State;
  explicit JobProcess(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// The child's side: reads requests from stdin until it is closed, calls `serve` for each, writes what it emits to file
// descriptor 3. `serve` gives exactly one result event, last.
int serve_jobs(
    const std::function<void(const ChildRequest&, const std::function<void(const ChildEvent&)>& emit)>& serve);

}  // namespace finch::protocol
