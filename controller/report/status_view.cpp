#include "controller/report/status_view.hpp"

#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "controller/report/live_view.hpp"
#include "controller/report/log_view.hpp"

namespace finch::controller {

std::unique_ptr<StatusView> make_status_view() {
  const char* terminal = std::getenv("TERM");
  const bool live = ::isatty(STDERR_FILENO) && terminal != nullptr && std::string_view(terminal) != "dumb";
  if (live) return std::make_unique<LiveView>();
  return std::make_unique<LogView>(stderr);
}

}  // namespace finch::controller
