#include "controller/campaign/job_board.hpp"

#include <limits>

#include "protocol/artifact_references.hpp"
#include "protocol/artifact_store.hpp"

namespace finch::controller {

std::string job_key(const JobRequest& request) {
  protocol::Job job = request.job;
  // The data are known by their hash, in depends_on: where they lie does not matter.
  if (job.has_train_teacher()) job.mutable_train_teacher()->mutable_data()->clear_path();
  if (job.has_export_images()) job.mutable_export_images()->mutable_data()->clear_path();
  if (job.has_export_random()) job.mutable_export_random()->mutable_data()->clear_path();
  if (job.has_train_candidate()) {
    job.mutable_train_candidate()->mutable_data()->clear_path();
    if (job.train_candidate().has_user_trainer()) job.mutable_train_candidate()->mutable_user_trainer()->clear_folder();
  }
  if (job.has_train_supernet()) job.mutable_train_supernet()->mutable_data()->clear_path();
  if (job.has_evaluate_subnet()) job.mutable_evaluate_subnet()->mutable_data()->clear_path();
  if (job.has_read_model()) job.mutable_read_model()->mutable_data()->clear_path();
  if (job.has_compress_model()) job.mutable_compress_model()->mutable_data()->clear_path();
  if (job.has_time_training()) job.mutable_time_training()->mutable_data()->clear_path();
  return protocol::sha256_hex(job.SerializeAsString() + '\n' + request.depends_on + '\n' + FINCH_VERSION);
}

bool JobBoard::files_are_whole(const std::string& result) const {
  protocol::JobResult message;
  message.ParseFromString(result);
  const protocol::ArtifactStore store(artifacts_);
  bool whole = true;
  for (const protocol::NamedArtifact& artifact : protocol::artifacts_named_by(message)) {
    if (!protocol::is_sha256(artifact.sha256)) return false;
    if (protocol::sha256_of_file(store.path_of(artifact.sha256)) == artifact.sha256) continue;
    std::error_code ignored;
    std::filesystem::remove(store.path_of(artifact.sha256), ignored);  // or it would stand in the new one's way
    whole = false;
  }
  return whole;
}

std::expected<JobStatus, Error> JobBoard::submit(const std::string& key, const JobRequest& request) {
  const Submission submission{.key = key,
                              .campaign = campaign_,
                              .target = request.target,
                              .priority = request.priority,
                              .job = request.job.SerializeAsString()};
  auto status = store_.submit(submission);
  if (!status || status->state != JobState::done || files_are_whole(status->result)) return status;
  if (auto forgotten = store_.forget_result(key); !forgotten) return std::unexpected(forgotten.error());
  return store_.submit(submission);
}

std::expected<std::optional<JobOutcome>, Error> JobBoard::result_of(const JobRequest& request) {
  const std::string key = job_key(request);
  auto job = jobs_.find(key);
  if (job == jobs_.end()) {
    auto status = submit(key, request);
    if (!status) return std::unexpected(status.error());
    job = jobs_.emplace(key, AskedJob{request.description, request.target, std::move(*status)}).first;
  }
  const JobStatus& status = job->second.status;
  if (status.state == JobState::queued || status.state == JobState::leased) return std::nullopt;
  JobOutcome outcome;
  outcome.reused = status.existed && status.state == JobState::done;
  if (status.state == JobState::cancelled) {
    outcome.result.mutable_failure()->set_message("the job was cancelled");
  } else {
    outcome.result.ParseFromString(status.result);
  }
  return outcome;
}

std::expected<std::size_t, Error> JobBoard::choose(std::span<const JobRequest> choices) {
  if (choices.size() == 1) return 0;
  std::optional<std::size_t> waiting;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    const std::string key = job_key(choices[i]);
    std::optional<JobState> state;
    if (const auto asked = jobs_.find(key); asked != jobs_.end()) {
      state = asked->second.status.state;
    } else {
      const auto known = store_.find(key);
      if (!known) return std::unexpected(known.error());
      // A failure of before is no result: it is tried again.
      if (*known && (*known)->state != JobState::failed && (*known)->state != JobState::cancelled)
        state = (*known)->state;
    }
    if (state && *state != JobState::queued) return i;
    if (state && !waiting) waiting = i;
  }
  const auto loads = store_.loads();
  if (!loads) return std::unexpected(loads.error());
  const auto load_on = [&](std::size_t i) {
    const auto load = loads->find(choices[i].target);
    if (load == loads->end()) return std::numeric_limits<std::int64_t>::max();  // not connected
    return load->second - (waiting == i ? 1 : 0);
  };
  std::size_t best = waiting.value_or(0);
  for (std::size_t i = 0; i < choices.size(); ++i) {
    if (load_on(i) < load_on(best)) best = i;
  }
  if (waiting && *waiting != best) {
    const std::string key = job_key(choices[*waiting]);
    if (auto withdrawn = store_.withdraw(campaign_, {&key, 1}); !withdrawn) return std::unexpected(withdrawn.error());
    jobs_.erase(key);
  }
  return best;
}

void JobBoard::forget(const JobRequest& request) {
  jobs_.erase(job_key(request));
}

std::expected<void, Error> JobBoard::refresh() {
  for (auto job = jobs_.begin(); job != jobs_.end();) {
    const auto current = job++;
    JobStatus& known = current->second.status;
    if (known.state != JobState::queued && known.state != JobState::leased) continue;
    auto status = store_.find(current->first);
    if (!status) return std::unexpected(status.error());
    if (*status) {
      known = std::move(**status);  // what still ran when we asked was not reused
    } else {
      jobs_.erase(current);  // the farm lost it: submitted again
    }
  }
  return {};
}

}  // namespace finch::controller
