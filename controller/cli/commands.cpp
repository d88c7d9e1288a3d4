#include "controller/cli/commands.hpp"

#include <algorithm>
#include <cstdio>

namespace finch::controller {

ExitCode fail(const Error& error) {
  std::size_t begin = 0;
  while (begin <= error.message.size()) {
    const std::size_t end = std::min(error.message.find('\n', begin), error.message.size());
    std::fprintf(stderr, "finch: %s\n", error.message.substr(begin, end - begin).c_str());
    begin = end + 1;
  }
  return error.exit_code;
}

}  // namespace finch::controller
