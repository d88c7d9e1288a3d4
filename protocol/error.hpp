// The reason why something in protocol/ could not be done. Immutable value; safe to copy between threads.
#pragma once

#include <string>

namespace finch::protocol {

struct Error {
  std::string message;  // names the thing and the remedy, one line, no trailing newline
};

}  // namespace finch::protocol
