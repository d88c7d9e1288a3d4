// The jobs a campaign has in the farm: submits each once, remembers what it is for, and tells what came of it.
// Not thread safe.
#pragma once

#include <expected>
#include <map>
#include <optional>
#include <string>

#include "controller/error.hpp"
#include "controller/farm/farm_store.hpp"
#include "protocol/farm.pb.h"

namespace finch::controller {

struct JobRequest {
  protocol::Job job;
  std::string target;  // device; empty: any trainer
  int priority = 0;
  std::string depends_on;   // what the result depends on beside the message: data hash, device state, attempt
  std::string description;  // "training candidate 7"
};

struct JobOutcome {
  protocol::JobResult result;
  bool reused = false;  // recorded before this campaign asked for it
};

struct AskedJob {
  std::string description, target;
  JobStatus status;
};

class JobBoard {
 public:
  JobBoard(FarmStore& store, std::string campaign) : store_(store), campaign_(std::move(campaign)) {}

  // The result when it is there; nothing while the job is queued or runs. Submits it the first time.
  std::expected<std::optional<JobOutcome>, Error> result_of(const JobRequest& request);
  // Asks the farm again for the states of the unfinished jobs.
  std::expected<void, Error> refresh();
  void withdraw_all() { (void)store_.withdraw(campaign_); }
  const std::map<std::string, AskedJob>& jobs() const { return jobs_; }

 private:
  FarmStore& store_;
  std::string campaign_;
  std::map<std::string, AskedJob> jobs_;  // by key; finished ones stay, so that asking again costs nothing
};

// SHA-256 over the message without what does not matter (the data set's path), `depends_on` and Finch's version.
std::string job_key(const JobRequest& request);

}  // namespace finch::controller
