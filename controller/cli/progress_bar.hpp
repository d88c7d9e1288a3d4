// One line on a terminal that is drawn over; nothing where stderr is none. Not thread safe.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <string>

namespace finch::controller {

class ProgressBar {
 public:
  ~ProgressBar() {
    if (shown_ >= 0) std::fprintf(stderr, "\r\033[K");
  }
  void show(double share) {
    const int percent = static_cast<int>(100 * share);
    if (!live_ || percent == shown_) return;
    shown_ = percent;
    const std::string bar(static_cast<std::size_t>(percent * 2 / 5), '#');
    std::fprintf(stderr, "\r[%-40s] %3d %%", bar.c_str(), percent);
  }

 private:
  bool live_ = ::isatty(STDERR_FILENO) != 0;
  int shown_ = -1;
};

}  // namespace finch::controller
