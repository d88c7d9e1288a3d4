// Time that a process was running: stands still while the process is stopped (SIGSTOP), as it is while its host
// measures. Thread safe.
#pragma once

#include <chrono>
#include <mutex>
#include <thread>

namespace finch::trainer {

// A thread of its own looks at the time every 50 ms; a look that comes half a second late or more means that the
// process stood still. The kernel does not tell how long.
class ActiveClock {
 public:
  ActiveClock();

  double seconds() const;  // since construction, without stops
  void restart();

 private:
  using Clock = std::chrono::steady_clock;
  void look();

  mutable std::mutex mutex_;
  Clock::time_point start_, last_look_;
  Clock::duration stopped_{};
  std::jthread watcher_;  // last: ends before the rest goes
};

}  // namespace finch::trainer
