#pragma once

#include <algorithm>
#include <chrono>

namespace finch::controller {

// How long to wait before looking again for what another process wrote into a shared file: a share of what has been
// waited already, so that short steps are noticed at once and a long measurement on this machine is left in peace.
class Patience {
 public:
  using Clock = std::chrono::steady_clock;

  void reset() { since_ = Clock::now(); }

  [[nodiscard]] std::chrono::milliseconds next() const {
    constexpr std::chrono::milliseconds kLeast{10}, kMost{500};
    return std::clamp(std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - since_) / 8, kLeast, kMost);
  }

 private:
  Clock::time_point since_ = Clock::now();
};

}  // namespace finch::controller
