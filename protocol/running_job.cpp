#include "protocol/running_job.hpp"

#include <format>

#include "protocol/artifact_references.hpp"
#include "protocol/artifact_store.hpp"
#include "protocol/durable_file.hpp"

namespace finch::protocol {
namespace fs = std::filesystem;
namespace {

JobResult failed(const std::string& message, bool retryable) {
  JobResult result;
  result.mutable_failure()->set_message(message);
  result.mutable_failure()->set_retryable(retryable);
  return result;
}

}  // namespace

RunningJob::RunningJob(Lease lease, fs::path output_folder, std::function<void()> on_progress)
    : lease_(std::move(lease)), output_folder_(std::move(output_folder)), on_progress_(std::move(on_progress)) {
  for (const NamedArtifact& artifact : artifacts_named_by(lease_.job())) missing_.push_back(artifact.sha256);
}

JobResult RunningJob::run(JobHandler& handler, ArtifactStore& store) {
  std::error_code ignored;
  fs::remove_all(output_folder_, ignored);
  if (const auto made = make_folder(output_folder_); !made) return failed(made.error().message, false);
  JobResult result;
  try {
    result = handler.run(lease_.job(), *this);
  } catch (const std::exception& exception) {
    result = failed(std::format("the job broke off: {}", exception.what()), true);
  }
  for (const NamedArtifact& artifact : artifacts_named_by(result)) {
    if (store.has(artifact.sha256)) continue;
    const auto added = store.add_file(output_folder_ / artifact.sha256);
    if (!added) result = failed(added.error().message, false);
    if (added && *added != artifact.sha256) {
      result =
          failed(std::format("the job's output {} does not have the hash it is named after", artifact.sha256), false);
    }
    if (result.has_failure()) break;
  }
  fs::remove_all(output_folder_, ignored);
  return result;
}

void RunningJob::progress(double fraction, const std::string& message) {
  {
    const std::scoped_lock lock(progress_mutex_);
    progress_.emplace(fraction, message);
  }
  on_progress_();
}

std::optional<Progress> RunningJob::take_progress() {
  const std::scoped_lock lock(progress_mutex_);
  if (!progress_) return std::nullopt;
  Progress progress;
  *progress.mutable_lease() = lease_.lease();
  progress.set_fraction(progress_->first);
  progress.set_message(progress_->second);
  progress_.reset();
  return progress;
}

std::optional<std::string> RunningJob::next_missing(const ArtifactStore& store) {
  while (!missing_.empty() && store.has(missing_.back())) missing_.pop_back();
  return missing_.empty() ? std::nullopt : std::optional(missing_.back());
}

void RunningJob::begin(const ArtifactStore& store) {
  begun_ = true;
  for (const NamedArtifact& artifact : artifacts_named_by(lease_.job())) {
    artifacts_[artifact.sha256] = store.path_of(artifact.sha256);
  }
}

void RunningJob::pause() {
  if (begun_ && !paused_since_) paused_since_ = Clock::now();
}

void RunningJob::resume() {
  if (paused_since_) paused_ += Clock::now() - *paused_since_;
  paused_since_.reset();
}

double RunningJob::paused_seconds() const {
  return std::chrono::duration<double>(paused_).count();
}

}  // namespace finch::protocol
