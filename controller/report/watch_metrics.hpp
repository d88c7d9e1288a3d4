// Prometheus metrics of `finch watch run` on an HTTP port (/metrics). Thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <string>

#include "controller/error.hpp"

namespace finch::controller {

class WatchMetrics {
 public:
  // As of MetricsServer::start().
  static std::expected<std::unique_ptr<WatchMetrics>, Error> start(const std::string& address);
  virtual ~WatchMetrics() = default;
  // How many models are in which state: "ok" or the kind of their alarm.
  virtual void show_states(const std::map<std::string, std::int64_t>& models) = 0;
  virtual void count_check() = 0;
  virtual void count_alarm(const std::string& kind) = 0;
};

}  // namespace finch::controller
