#include "controller/report/log_view.hpp"

#include <format>

namespace finch::controller {
namespace {

constexpr std::chrono::seconds kProgressEvery{15};

}  // namespace

std::string clock_text(std::chrono::duration<double> duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration).count();
  if (seconds >= 3600) return std::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
  return std::format("{}:{:02}", seconds / 60, seconds % 60);
}

void LogView::show(const CampaignStatus& status) {
  const std::string time = clock_text(status.elapsed);
  const auto line = [&](const std::string& text) {
    std::fputs(std::format("[{:>7}] {}\n", time, text).c_str(), stream_);
  };
  if (status.stage != stage_) {
    stage_ = status.stage;
    line("stage: " + stage_);
    last_progress_ = status.elapsed;
  }
  for (const std::string& text : status.log) line(text);
  if (status.elapsed - last_progress_ >= kProgressEvery) {
    last_progress_ = status.elapsed;
    std::string text = std::format("{} {:.0f} %", status.stage, 100 * status.stage_progress);
    if (!status.stage_detail.empty()) text += ", " + status.stage_detail;
    if (status.asked > 0) text += std::format(", {} evaluated, front {}", status.evaluated, status.front.size());
    if (status.remaining) text += ", about " + clock_text(*status.remaining) + " left";
    line(text);
  }
  std::fflush(stream_);
}

void LogView::finish() {
  std::fflush(stream_);
}

}  // namespace finch::controller
