// What another program says. Thread safe.
#pragma once

#include <string>

namespace finch::controller {

// The standard output of a shell's command; its errors are dropped. Empty: it says nothing, or cannot be run.
std::string output_of(const std::string& command);

}  // namespace finch::controller
