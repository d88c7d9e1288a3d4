// The jobs a campaign has in the farm: submits each once, remembers what it is for, and tells what came of it.
// Not thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
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
  // `artifacts`: the home's folder of these.
  JobBoard(FarmStore& store, std::string campaign, std::filesystem::path artifacts)
      : store_(store), campaign_(std::move(campaign)), artifacts_(std::move(artifacts)) {}

  // The result when it is there; nothing while the job is queued or runs. Submits it the first time. An earlier result
  // whose files are gone or damaged is not reused: the job is done again.
  std::expected<std::optional<JobOutcome>, Error> result_of(const JobRequest& request);
  // Which of several requests for the same figure, on one board each, is to be asked: the one whose result is there or
  // that runs, else the one whose board has least to do. What still waits moves to a board that has less to do.
  // REQUIRES: `choices` is not empty.
  std::expected<std::size_t, Error> choose(std::span<const JobRequest> choices);
  // Its result, if there is one here, is asked of the farm anew.
  void forget(const JobRequest& request);
  // Asks the farm again for the states of the unfinished jobs.
  std::expected<void, Error> refresh();
  void withdraw_all() { (void)store_.withdraw(campaign_); }
  const std::map<std::string, AskedJob>& jobs() const { return jobs_; }

 private:
  std::expected<JobStatus, Error> submit(const std::string& key, const JobRequest& request);
  // Whether every file that the result names is there, as its hash says; what is damaged is removed.
  bool files_are_whole(const std::string& result) const;

  FarmStore& store_;
  std::string campaign_;
  std::filesystem::path artifacts_;
  std::map<std::string, AskedJob> jobs_;  // by key; finished ones stay, so that asking again costs nothing
};

// SHA-256 over the message without what does not matter (the data set's path), `depends_on` and Finch's version.
std::string job_key(const JobRequest& request);

}  // namespace finch::controller
