// Shows a running campaign on stderr: a live view on a terminal, plain log lines elsewhere. Not thread safe.
#pragma once

#include <memory>

#include "controller/campaign/campaign_status.hpp"

namespace finch::controller {

class StatusView {
 public:
  virtual ~StatusView() = default;
  virtual void show(const CampaignStatus& status) = 0;
  // Leaves the last picture on the screen and the cursor below it.
  virtual void finish() = 0;
};

// A live view when stderr is a terminal (and TERM is not "dumb"), log lines otherwise.
std::unique_ptr<StatusView> make_status_view();

}  // namespace finch::controller
