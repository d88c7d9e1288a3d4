#include "agent/pause.hpp"

#include <condition_variable>
#include <mutex>

namespace finch::agent {

bool pause(std::chrono::duration<double> duration, const std::stop_token& stop) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock lock(mutex);
  wake.wait_for(lock, stop, duration, [] { return false; });
  return !stop.stop_requested();
}

}  // namespace finch::agent
