// Ctrl-C and SIGTERM as a stop token: the first asks to stop in order, the second ends the program at once.
// Make one before any thread is started. Not thread safe.
#pragma once

#include <stop_token>
#include <thread>

namespace finch::controller {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  std::stop_token token() const { return stop_.get_token(); }

 private:
  std::stop_source stop_;
  int signals_ = -1, wake_ = -1;
  std::jthread thread_;
};

}  // namespace finch::controller
