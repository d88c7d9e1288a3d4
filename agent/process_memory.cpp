#include "agent/process_memory.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <format>
#include <fstream>
#include <string>

namespace finch::agent {

std::expected<void, Error> reset_peak_memory() {
  static const int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  static const int why_not_open = errno;
  if (file >= 0 && pwrite(file, "5", 1, 0) == 1) return {};
  return std::unexpected(
      Error{std::format("/proc/self/clear_refs: {}", std::strerror(file < 0 ? why_not_open : errno))});
}

std::expected<std::int64_t, Error> peak_memory_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key;) {
    std::int64_t kibibytes = 0;
    if (key == "VmHWM:" && status >> kibibytes) return kibibytes * 1024;
    std::getline(status, key);
  }
  return std::unexpected(Error{"/proc/self/status has no VmHWM"});
}

}  // namespace finch::agent
