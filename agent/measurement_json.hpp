// A measurement as people's programs read it: the object MEASUREMENT of front.json. Pure functions; thread safe.
#pragma once

#include <string>

namespace finch::protocol {
class DeviceDescription;
class Measurement;
}  // namespace finch::protocol

namespace finch::agent {

// One line of JSON. What is not known is null. `raw`: the path of the raw latencies, null when empty.
std::string measurement_json(const protocol::Measurement& measurement, const std::string& raw);
std::string device_json(const protocol::DeviceDescription& device);

// A few lines for people.
std::string measurement_text(const protocol::Measurement& measurement);
std::string device_text(const protocol::DeviceDescription& device);

}  // namespace finch::agent
