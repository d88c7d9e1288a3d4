// An error for a person, with the exit code that belongs to it. Immutable value; safe to copy between threads.
#pragma once

#include <string>

namespace finch::controller {

// What `finch` exits with.
enum class ExitCode { done = 0, failed = 1, usage = 2, interrupted = 130 };

struct Error {
  std::string message;  // what went wrong, where (file:line: key), what to do; one line, no trailing newline
  ExitCode exit_code = ExitCode::failed;
};

}  // namespace finch::controller
