// Runs finch-agent and finch-trainer on this machine: starts them when they are needed, again after a crash, and ends
// them with itself. Not thread safe; the thread that calls tend() must live as long as the workers shall (they die with
// it).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "controller/error.hpp"
#include "controller/farm/home.hpp"

namespace finch::controller {

class LocalWorkers {
 public:
  enum class Kind { agent, trainer };
  struct Options {
    std::string controller;          // "127.0.0.1:7433"
    std::string profile;             // of the agent
    std::filesystem::path programs;  // folder of finch-agent and finch-trainer
    std::function<void(const std::string& line)> log;
    std::filesystem::path root = "/";  // of /sys and /proc
  };
  struct Need {
    bool agent = false;  // somebody waits for it, and it is not connected
    bool trainer = false;
  };
  struct Failure {
    Kind worker;
    std::string why;  // for people, with the end of its log
  };

  LocalWorkers(Home home, Options options);
  LocalWorkers(const LocalWorkers&) = delete;
  LocalWorkers& operator=(const LocalWorkers&) = delete;
  ~LocalWorkers();  // SIGTERM, a bounded wait, SIGKILL

  // Starts what is needed and does not run, notices what has ended; called a few times a second. Gives those that
  // cannot be started: whoever waits for them waits in vain. They are tried again when they are still needed later.
  std::vector<Failure> tend(Need need);

 private:
  using Clock = std::chrono::steady_clock;
  struct Program {
    Kind kind;
    std::string name;     // of its certificate
    std::string program;  // file name
    std::string folder;   // below Home::workers(), and of its log
    std::vector<std::string> arguments;
    bool extra = false;  // goes along with the trainer that was asked for
    pid_t pid = -1;
    int early_deaths = 0;  // in a row
    Clock::time_point started{}, not_before{};
  };

  // Once: says what GPU there is, and adds trainers where it has room for several.
  void look_for_gpu();
  bool is_needed(const Program& program, Need need) const;
  // Error: it cannot be started at all.
  std::expected<void, Error> start(Program& program);
  // Notes its end, if it has ended; gives why it is hopeless, or nothing.
  std::string reap(Program& program);
  std::filesystem::path log_of(const Program& program) const;

  const Home home_;
  const Options options_;
  std::vector<Program> programs_;
  bool looked_for_gpu_ = false;
};

}  // namespace finch::controller
