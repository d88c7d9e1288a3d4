// A measurement begins as cool as the device was when it was calibrated, if that can be waited for. Thread safe.
#pragma once

#include <expected>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "agent/error.hpp"
#include "agent/measure_tier.hpp"
#include "agent/system_files.hpp"

namespace finch::agent {

// Until the hottest sensor is at most limits.start_tolerance_celsius above `reference_celsius`, for limits.start_wait
// at the longest. A device that is colder is not waited for: it warms up by itself. `on_wait` hears how hot it still
// is, about twice a second. Why it begins hotter; empty: it does not, or one of both temperatures is not known. Error:
// stopped (retryable).
std::expected<std::string, Error> wait_for_start_temperature(const SystemFiles& files,
                                                             std::optional<double> reference_celsius,
                                                             const MeasureLimits& limits,
                                                             const std::function<void(double celsius)>& on_wait,
                                                             const std::stop_token& stop);

}  // namespace finch::agent
