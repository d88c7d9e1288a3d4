// The service manager that started this program (systemd), told how it goes by the protocol of sd_notify(3). Without
// one, nothing is told. Thread safe.
#pragma once

#include <chrono>
#include <optional>
#include <string>

namespace finch::agent {

class ServiceManager {
 public:
  // Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID and takes them out of the environment: no child may speak for
  // the service. Before other threads are made.
  ServiceManager();

  // "READY=1", "WATCHDOG=1", "STATUS=connected". Never blocks; what cannot be sent is lost.
  void tell(const std::string& state) const;
  // Unless it hears "WATCHDOG=1" so often, it ends the service and starts it anew. Nothing: it does not watch.
  std::optional<std::chrono::microseconds> watchdog() const { return watchdog_; }

 private:
  std::string socket_;  // a path; a leading '@' stands for an abstract name's zero byte
  std::optional<std::chrono::microseconds> watchdog_;
};

}  // namespace finch::agent
