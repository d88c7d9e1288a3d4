// The reason why something in search/ could not be done. Immutable value; safe to copy between threads.
#pragma once

#include <string>

namespace finch::search {

struct Error {
  std::string message;  // names the thing and the remedy, one line, no trailing newline
};

}  // namespace finch::search
