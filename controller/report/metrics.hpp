// Prometheus metrics on an HTTP port (/metrics). Thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>

#include "controller/campaign/campaign_status.hpp"
#include "controller/error.hpp"

namespace finch::controller {

class MetricsServer {
 public:
  // `address`: "127.0.0.1:9464". Error: port occupied, names it and the option that changes it.
  static std::expected<std::unique_ptr<MetricsServer>, Error> start(const std::string& address);
  virtual ~MetricsServer() = default;
  virtual void update(const CampaignStatus& status) = 0;
};

}  // namespace finch::controller
