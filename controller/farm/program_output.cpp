#include "controller/farm/program_output.hpp"

#include <array>
#include <cstdio>

namespace finch::controller {

std::string output_of(const std::string& command) {
  std::string text;
  if (FILE* output = ::popen((command + " 2>/dev/null").c_str(), "r")) {
    std::array<char, 4096> part{};
    while (const std::size_t count = std::fread(part.data(), 1, part.size(), output)) text.append(part.data(), count);
    ::pclose(output);
  }
  return text;
}

}  // namespace finch::controller
