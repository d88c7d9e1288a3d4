// The reason why something in agent/ could not be done. Immutable value; safe to copy between threads.
#pragma once

#include <string>

namespace finch::agent {

struct Error {
  std::string message;     // names the thing and the remedy, one line, no trailing newline
  bool retryable = false;  // a crash or an interruption; trying again may help
  bool bad_input = false;  // a file or a setting of the user's is wrong
  // The process that ran the model died, hung, or wanted more than it may have: a verdict on the model.
  bool model_failed = false;
};

}  // namespace finch::agent
