// What slows a board down against its will: heat, too little voltage, too much current. Thread safe.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/system_files.hpp"

namespace finch::agent {

struct ThrottleReading {
  // Raspberry Pi firmware. Bits 0 to 3 are live, bits 16 to 19 stay set since boot. All sources of it, joined.
  std::optional<std::uint32_t> firmware_flags;
  std::vector<std::string> active_alerts;      // "gpu-throttle-alert", "under-voltage"
  std::map<std::string, std::int64_t> counts;  // of events since boot: "over-current oc1"
  std::vector<std::string> problems;           // what is there but cannot be read
};

class ThrottleSource {
 public:
  virtual ~ThrottleSource() = default;
  virtual ThrottleReading read() const = 0;
};

// Raspberry Pi firmware (sysfs and mailbox), under-voltage alarms of hwmon, Jetson alerts and over-current counters,
// thermal throttling of Intel processors: those that the machine has.
std::unique_ptr<ThrottleSource> open_throttle_sources(SystemFiles files);

// The names of the firmware's flags that are set in the lowest four bits: "under-voltage", "throttled", ...
std::vector<std::string> firmware_flag_names(std::uint32_t flags);

}  // namespace finch::agent
