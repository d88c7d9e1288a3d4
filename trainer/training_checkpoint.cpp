#include "trainer/training_checkpoint.hpp"

#include "protocol/durable_file.hpp"

namespace finch::trainer {
namespace {

constexpr int kTimesTheCost = 50;
constexpr std::chrono::hours kForgotten{24 * 30};

// What a process left that was killed while it wrote, and checkpoints of trainings that nobody went on with.
void tidy(const std::filesystem::path& folder) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const auto written = entry.last_write_time(ignored);
    const bool forgotten = !ignored && std::filesystem::file_time_type::clock::now() - written > kForgotten;
    if (forgotten || entry.path().filename().string().starts_with("tmp."))
      std::filesystem::remove(entry.path(), ignored);
  }
}

}  // namespace

TrainingCheckpoint::TrainingCheckpoint(std::filesystem::path folder, const std::string& key)
    : folder_(std::move(folder)), file_(folder_ / key) {
  if (folder_.empty()) return;
  if (!protocol::make_folder(folder_)) folder_.clear();
  tidy(folder_);
}

std::optional<std::filesystem::path> TrainingCheckpoint::found() const {
  std::error_code ignored;
  if (folder_.empty() || !std::filesystem::exists(file_, ignored)) return std::nullopt;
  return file_;
}

void TrainingCheckpoint::keep_if_due(const std::function<std::string()>& bytes) {
  const auto begin = Clock::now();
  if (folder_.empty() || begin < due_) return;
  (void)protocol::write_durably(file_, bytes(), 0600);
  const auto end = Clock::now();
  due_ = end + kTimesTheCost * (end - begin);
}

void TrainingCheckpoint::discard() {
  std::error_code ignored;
  if (!folder_.empty()) std::filesystem::remove(file_, ignored);
}

}  // namespace finch::trainer
