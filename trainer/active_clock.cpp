#include "trainer/active_clock.hpp"

#include <condition_variable>

namespace finch::trainer {
namespace {

constexpr std::chrono::milliseconds kPeriod{50};
constexpr std::chrono::milliseconds kLate{500};

}  // namespace

ActiveClock::ActiveClock()
    : start_(Clock::now()), last_look_(start_), watcher_([this](std::stop_token stop) {
        std::mutex mutex;
        std::condition_variable_any wake;
        std::unique_lock lock(mutex);
        while (!wake.wait_for(lock, stop, kPeriod, [] { return false; }) && !stop.stop_requested()) look();
      }) {}

void ActiveClock::look() {
  const std::scoped_lock lock(mutex_);
  const auto now = Clock::now();
  if (now - last_look_ > kLate) stopped_ += now - last_look_;
  last_look_ = now;
}

double ActiveClock::seconds() const {
  const std::scoped_lock lock(mutex_);
  const auto now = Clock::now();
  // The caller may be quicker than the watcher after a stop.
  const auto pending = now - last_look_ > kLate ? now - last_look_ : Clock::duration{};
  return std::chrono::duration<double>(now - start_ - stopped_ - pending).count();
}

void ActiveClock::restart() {
  const std::scoped_lock lock(mutex_);
  start_ = last_look_ = Clock::now();
  stopped_ = {};
}

}  // namespace finch::trainer
