// The reason why something in trainer/ could not be done. Immutable value; safe to copy between threads.
#pragma once

#include <string>

namespace finch::trainer {

struct Error {
  std::string message;  // names the thing and the remedy, one line, no trailing newline
};

}  // namespace finch::trainer
