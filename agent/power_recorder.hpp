// Records what a power sensor says, in a thread of its own, until it is asked for the trace.
// For one thread; the sensor is the recorder's as long as it lives.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "agent/power_sensor.hpp"
#include "agent/power_trace.hpp"

namespace finch::agent {

class PowerRecorder {
 public:
  // REQUIRES: `sensor` measures a whole (total_rails() is not empty) and lives longer.
  explicit PowerRecorder(PowerSensor& sensor);

  // Blocks until there is a sample of `time` or later. False: none came in time, or stop was requested.
  bool wait_for_sample(std::chrono::nanoseconds time, std::chrono::milliseconds longest, const std::stop_token& stop);

  // Ends the recording; blocks until the reading under way is over. Times ascend: what comes with an older time than
  // the sample before is left out.
  std::vector<PowerSample> finish();

  // What went wrong while recording, and how often. REQUIRES: finish() was called.
  const std::map<std::string, int>& problems() const { return problems_; }

 private:
  void record(const std::stop_token& stop);

  PowerSensor& sensor_;
  std::mutex mutex_;  // of all below while the thread runs
  std::condition_variable_any changed_;
  std::vector<PowerSample> samples_;
  std::map<std::string, int> problems_;
  std::jthread thread_;  // last: it uses the others
};

}  // namespace finch::agent
