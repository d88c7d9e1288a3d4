// What `finch resume` needs of `finch compress`.
#pragma once

#include <string>

#include "controller/error.hpp"

namespace finch::controller {

bool is_compression(const std::string& folder);
ExitCode resume_compression(const std::string& folder, bool json);

}  // namespace finch::controller
