// How long to wait before the next try: twice as long after every failure up to a limit, with jitter so that a shelf of
// boards does not come back all at once. Not thread safe.
#pragma once

#include <algorithm>
#include <chrono>
#include <random>

namespace finch::protocol {

class Backoff {
 public:
  Backoff(std::chrono::milliseconds first, std::chrono::milliseconds last) : first_(first), last_(last), next_(first) {}

  // Between half of the present step and all of it.
  std::chrono::milliseconds next() {
    std::uniform_int_distribution<std::chrono::milliseconds::rep> jitter(next_.count() / 2, next_.count());
    next_ = std::min(2 * next_, last_);
    return std::chrono::milliseconds(jitter(generator_));
  }
  void reset() { next_ = first_; }

 private:
  const std::chrono::milliseconds first_, last_;
  std::chrono::milliseconds next_;
  std::mt19937 generator_{std::random_device{}()};
};

}  // namespace finch::protocol
