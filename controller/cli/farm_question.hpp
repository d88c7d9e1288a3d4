// Asks the farm for one job after the other and waits for each: for commands that are no campaign. Not thread safe.
#pragma once

#include <expected>
#include <stop_token>
#include <string>
#include <vector>

#include "controller/campaign/job_board.hpp"
#include "controller/farm/home.hpp"

namespace finch::controller {

class FarmQuestion {
 public:
  // `campaign`: a name that no campaign has; what it asked for is withdrawn in the end.
  FarmQuestion(const Home& home, FarmStore& store, const std::string& campaign, std::stop_token stop)
      : store_(store), board_(store, campaign, home.artifacts()), stop_(std::move(stop)) {}
  ~FarmQuestion() { board_.withdraw_all(); }

  // Says on stderr what it waits for. Errors: the job failed, `stop` was requested (exit code `interrupted`).
  std::expected<protocol::JobResult, Error> ask(const JobRequest& request);
  // Waits until it is connected.
  std::expected<protocol::DeviceDescription, Error> device(const std::string& name);

 private:
  std::expected<void, Error> pause();

  FarmStore& store_;
  JobBoard board_;
  std::stop_token stop_;
};

// Boards must have joined; those of this machine are started when they are wanted. Error: a device that there is not;
// exit code `usage`.
std::expected<void, Error> check_devices(const std::vector<std::string>& devices, FarmStore& store);

}  // namespace finch::controller
