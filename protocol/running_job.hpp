// One job of a worker, from its lease to its result. The worker's network thread owns it; JobContext's functions are
// for the job thread.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "protocol/farm.pb.h"
#include "protocol/worker.hpp"

namespace finch::protocol {

class ArtifactStore;

class RunningJob final : public JobContext {
 public:
  // `on_progress` is called on the job thread after every new progress.
  RunningJob(Lease lease, std::filesystem::path output_folder, std::function<void()> on_progress);

  // Job thread --------------------------------------------------------------------------------------------------
  // Runs the handler and puts the outputs into the store. Never throws.
  JobResult run(JobHandler& handler, ArtifactStore& store);
  void progress(double fraction, const std::string& message) override;
  std::stop_token stop_token() const override { return stop_.get_token(); }
  const std::map<std::string, std::filesystem::path>& artifacts() const override { return artifacts_; }
  const std::filesystem::path& output_folder() const override { return output_folder_; }

  // Network thread ----------------------------------------------------------------------------------------------
  LeaseRef& lease() { return *lease_.mutable_lease(); }
  void request_stop() { stop_.request_stop(); }
  bool stopped() const { return stop_.stop_requested(); }
  // The next artifact that the store lacks; nothing when all are there.
  std::optional<std::string> next_missing(const ArtifactStore& store);
  // The newest progress that was not taken yet.
  std::optional<Progress> take_progress();
  // REQUIRES: next_missing() found nothing. From here on the job thread may run it.
  void begin(const ArtifactStore& store);
  bool begun() const { return begun_; }
  void pause();
  void resume();
  double paused_seconds() const;

 private:
  using Clock = std::chrono::steady_clock;
  Lease lease_;
  const std::filesystem::path output_folder_;
  const std::function<void()> on_progress_;
  std::stop_source stop_;
  std::vector<std::string> missing_;
  std::map<std::string, std::filesystem::path> artifacts_;
  bool begun_ = false;
  Clock::duration paused_{};
  std::optional<Clock::time_point> paused_since_;
  std::mutex progress_mutex_;
  std::optional<std::pair<double, std::string>> progress_;
};

}  // namespace finch::protocol
