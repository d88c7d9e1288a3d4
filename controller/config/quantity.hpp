// Quantities as people write them on a command line. Pure functions; thread safe.
#pragma once

#include <expected>
#include <string>

#include "controller/error.hpp"

namespace finch::controller {

// "20ms", "0.5 s", "800us" in milliseconds. Errors (exit code `usage`): no unit, an unknown one, not above 0.
std::expected<double, Error> parse_milliseconds(const std::string& text);
// "64MB" (10^6), "64MiB" (2^20), kB, KiB, GB, GiB in bytes. Errors as above.
std::expected<double, Error> parse_bytes(const std::string& text);
// "0.9" or "90%" as 0.9. Errors: outside 0..1.
std::expected<double, Error> parse_share(const std::string& text);

}  // namespace finch::controller
