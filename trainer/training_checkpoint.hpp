// Where a long training stood, in a file, so that whoever does the same job next goes on there. Not thread safe.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>

namespace finch::trainer {

class TrainingCheckpoint {
 public:
  // `key`: of the job, a file name. An empty folder keeps nothing. The folder is for one process at a time.
  TrainingCheckpoint(std::filesystem::path folder, const std::string& key);

  // What an earlier process left.
  std::optional<std::filesystem::path> found() const;
  // Writes what `bytes` gives, whole or not at all, as often as takes 2 % of the time. A disk that is full costs the
  // checkpoint, not the training.
  void keep_if_due(const std::function<std::string()>& bytes);
  // The training is done.
  void discard();

 private:
  using Clock = std::chrono::steady_clock;
  std::filesystem::path folder_, file_;
  Clock::time_point due_ = Clock::now();
};

}  // namespace finch::trainer
