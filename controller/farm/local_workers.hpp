// Keeps finch-agent and finch-trainer running on this machine while there is work for them. Not thread safe.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <expected>
#include <functional>
#include <string>
#include <vector>

#include "controller/error.hpp"
#include "controller/farm/home.hpp"

namespace finch::controller {

class LocalWorkers {
 public:
  // Identities of the local workers, signed by the home's authority, are written on first use.
  LocalWorkers(Home home, std::uint16_t port, std::string profile, std::function<void(const std::string&)> log);
  ~LocalWorkers();  // asks them to end, waits a moment, then kills

  // Starts what does not run and notices what has died; called about twice a second while there are jobs.
  void tend();

 private:
  struct Program {
    std::string name;  // folder of its identity, its log, its common name
    std::string program;
    std::vector<std::string> extra;
    pid_t pid = -1;
    int quick_deaths = 0;
    std::chrono::steady_clock::time_point started{}, not_before{};
  };
  void start(Program& program);
  void reap(Program& program);
  std::string last_words(const Program& program) const;

  Home home_;
  std::uint16_t port_;
  std::function<void(const std::string&)> log_;
  std::vector<Program> programs_;
};

}  // namespace finch::controller
