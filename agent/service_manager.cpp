#include "agent/service_manager.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>

#include "agent/system_files.hpp"

namespace finch::agent {
namespace {

std::string take(const char* name) {
  const char* value = std::getenv(name);
  std::string taken = value == nullptr ? "" : value;
  unsetenv(name);
  return taken;
}

}  // namespace

ServiceManager::ServiceManager() : socket_(take("NOTIFY_SOCKET")) {
  const auto microseconds = parse_number(take("WATCHDOG_USEC"));
  const std::string process = take("WATCHDOG_PID");
  const bool for_this_process = process.empty() || process == std::to_string(getpid());
  if (microseconds && *microseconds > 0 && for_this_process) watchdog_ = std::chrono::microseconds(*microseconds);
}

void ServiceManager::tell(const std::string& state) const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_.empty() || socket_.size() >= sizeof address.sun_path) return;
  std::ranges::copy(socket_, address.sun_path);
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';
  const int descriptor = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return;
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + socket_.size());
  sendto(descriptor, state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT, reinterpret_cast<sockaddr*>(&address),
         length);
  close(descriptor);
}

}  // namespace finch::agent
