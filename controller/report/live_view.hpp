// The live view on a terminal: drawn in place on stderr, log lines scroll above it. Not thread safe.
#pragma once

#include <string>

#include "controller/report/status_view.hpp"

namespace finch::controller {

// One picture of the campaign, `width` columns wide, with terminal colours; no trailing newline.
std::string live_picture(const CampaignStatus& status, int width);

class LiveView : public StatusView {
 public:
  ~LiveView() override { finish(); }
  void show(const CampaignStatus& status) override;
  void finish() override;

 private:
  void erase();
  int lines_ = 0;  // of the picture that is on the screen
};

}  // namespace finch::controller
