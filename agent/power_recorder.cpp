#include "agent/power_recorder.hpp"

#include <utility>

namespace finch::agent {

PowerRecorder::PowerRecorder(PowerSensor& sensor)
    : sensor_(sensor), thread_([this](const std::stop_token& stop) { record(stop); }) {}

bool PowerRecorder::wait_for_sample(std::chrono::nanoseconds time, std::chrono::milliseconds longest,
                                    const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, stop, longest, [&] { return !samples_.empty() && samples_.back().at >= time; });
}

std::vector<PowerSample> PowerRecorder::finish() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
  return std::move(samples_);
}

void PowerRecorder::record(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const PowerReading reading = sensor_.read();
    const auto power = total_power_mw(reading, sensor_.total_rails());
    std::unique_lock lock(mutex_);
    if (!power) {
      ++problems_[reading.problems.empty() ? "a rail gives no reading" : reading.problems.front()];
    } else if (samples_.empty() || reading.at > samples_.back().at) {
      samples_.push_back({reading.at, *power});
      changed_.notify_all();
    }
    // Nobody else waits for a change here: only a stop ends the pause.
    if (sensor_.period().count() > 0) changed_.wait_for(lock, stop, sensor_.period(), [] { return false; });
  }
}

}  // namespace finch::agent
