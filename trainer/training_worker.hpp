// The worker around the training: forwards jobs to one child process that lives on from job to job, starts another when
// it died, and stops and continues it while this host measures. Links no heavy work into the worker itself.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "protocol/job_process.hpp"
#include "protocol/worker.hpp"

namespace finch::trainer {

// run() is for one thread at a time; pause() and resume() for any.
class TrainingWorker : public protocol::JobHandler {
 public:
  // `command`: the program that serves jobs, and its arguments. `log_path`: of the child's stdout and stderr.
  TrainingWorker(std::vector<std::string> command, std::string log_path);
  ~TrainingWorker() override;

  protocol::Hello hello() override;
  // A child that dies is a failure that may be tried again. paused_seconds is filled in.
  protocol::JobResult run(const protocol::Job& job, protocol::JobContext& context) override;
  void pause() override;
  void resume() override;

 private:
  using Clock = std::chrono::steady_clock;
  protocol::JobResult forward(const protocol::Job& job, protocol::JobContext& context);
  std::expected<protocol::JobProcess*, protocol::Error> child();

  const std::vector<std::string> command_;
  const std::string log_path_;

  std::mutex
      mutex_;  // guards what follows; held while a child is started or replaced, so that pause() meets a whole one
  std::optional<protocol::JobProcess> child_;
  bool paused_ = false;
  Clock::time_point paused_since_;
  Clock::duration paused_total_{};  // of the running job

  // The child dies with the thread that started it, not merely with its process: jobs run on a thread of our own, that
  // lives as long as this object.
  std::mutex queue_mutex_;
  std::condition_variable_any queue_changed_;
  std::packaged_task<protocol::JobResult()>* queued_ = nullptr;
  std::jthread thread_;
};

// All workers on one running machine give one answer: the kernel's boot id, or else the host name.
std::string host_identity();

}  // namespace finch::trainer
