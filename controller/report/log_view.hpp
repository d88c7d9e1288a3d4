// Plain log lines for a file or a pipe: one for each thing that happened, and the progress once in a while.
// Not thread safe.
#pragma once

#include <chrono>
#include <cstdio>
#include <string>

#include "controller/report/status_view.hpp"

namespace finch::controller {

// "1:02:03" or "2:03".
std::string clock_text(std::chrono::duration<double> duration);

class LogView : public StatusView {
 public:
  // `stream` must outlive the view.
  explicit LogView(std::FILE* stream) : stream_(stream) {}
  void show(const CampaignStatus& status) override;
  void finish() override;

 private:
  std::FILE* stream_;
  std::string stage_;
  std::chrono::duration<double> last_progress_{-1e9};  // campaign time of the last progress line
};

}  // namespace finch::controller
