#include "trainer/training_worker.hpp"

#include <sys/utsname.h>

#include <fstream>
#include <utility>

#include "protocol/farm.pb.h"

namespace finch::trainer {
namespace {

protocol::JobResult failure(const std::string& message) {
  protocol::JobResult result;
  result.mutable_failure()->set_message(message);
  result.mutable_failure()->set_retryable(true);
  return result;
}

}  // namespace

TrainingWorker::TrainingWorker(std::vector<std::string> command, std::string log_path)
    : command_(std::move(command)), log_path_(std::move(log_path)), thread_([this](std::stop_token stop) {
        std::unique_lock lock(queue_mutex_);
        while (queue_changed_.wait(lock, stop, [this] { return queued_ != nullptr; })) {
          (*std::exchange(queued_, nullptr))();
        }
      }) {}

TrainingWorker::~TrainingWorker() = default;

protocol::Hello TrainingWorker::hello() {
  protocol::Hello hello;
  hello.set_role(protocol::TRAINER);
  hello.set_host(host_identity());
  hello.set_software_version(FINCH_VERSION);
  return hello;
}

protocol::JobResult TrainingWorker::run(const protocol::Job& job, protocol::JobContext& context) {
  std::packaged_task<protocol::JobResult()> task([&] { return forward(job, context); });
  std::future<protocol::JobResult> result = task.get_future();
  {
    const std::scoped_lock lock(queue_mutex_);
    queued_ = &task;
  }
  queue_changed_.notify_one();
  return result.get();
}

std::expected<protocol::JobProcess*, protocol::Error> TrainingWorker::child() {
  const std::scoped_lock lock(mutex_);
  paused_total_ = {};
  paused_since_ = Clock::now();
  if (!child_ || !child_->alive()) {
    child_.reset();
    // UCX, which Debian's LibTorch pulls in, would print pages when the child crashes.
    auto started = protocol::JobProcess::start(command_, log_path_, {"UCX_HANDLE_ERRORS=none"});
    if (!started) return std::unexpected(started.error());
    child_.emplace(std::move(*started));
    if (paused_) child_->pause();
  }
  return &*child_;
}

protocol::JobResult TrainingWorker::forward(const protocol::Job& job, protocol::JobContext& context) {
  auto process = child();
  if (!process) return failure(process.error().message);
  protocol::ChildRequest request;
  *request.mutable_job() = job;
  for (const auto& [sha256, path] : context.artifacts()) (*request.mutable_artifact_paths())[sha256] = path.string();
  request.set_output_folder(context.output_folder().string());
  auto event = (*process)->run(
      request,
      [&](const protocol::ChildEvent& progress) {
        context.progress(progress.progress().fraction(), progress.progress().message());
      },
      context.stop_token());
  protocol::JobResult result =
      event ? std::move(*event->mutable_result()) : failure("training: " + event.error().message);

  const std::scoped_lock lock(mutex_);
  if (paused_) paused_total_ += Clock::now() - paused_since_;
  result.set_paused_seconds(std::chrono::duration<double>(paused_total_).count());
  return result;
}

void TrainingWorker::pause() {
  const std::scoped_lock lock(mutex_);
  if (paused_) return;
  paused_ = true;
  paused_since_ = Clock::now();
  if (child_) child_->pause();
}

void TrainingWorker::resume() {
  const std::scoped_lock lock(mutex_);
  if (!paused_) return;
  paused_ = false;
  paused_total_ += Clock::now() - paused_since_;
  if (child_) child_->resume();
}

std::string host_identity() {
  std::string identity;
  if (std::ifstream("/proc/sys/kernel/random/boot_id") >> identity) return identity;
  utsname system{};
  ::uname(&system);
  return system.nodename;
}

}  // namespace finch::trainer
