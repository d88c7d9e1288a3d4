// Makes sure that somebody serves the farm of a home while a command needs it: a running `finch serve`, another
// campaign's farm, or one of our own; takes over when the other one ends, and makes room for a `finch serve`. Thread
// safe after start().
#pragma once

#include <expected>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "controller/farm/farm.hpp"

namespace finch::controller {

// Whether this machine can measure, where `devices` names it: a farm of our own starts the finch-agent beside finch.
// Error: there is none.
std::expected<void, Error> check_local_agent(const Home& home, const std::vector<std::string>& devices);

class FarmHost {
 public:
  static std::expected<std::unique_ptr<FarmHost>, Error> start(const Home& home, const std::string& local_profile);
  ~FarmHost();
  // What the farm said since the last call.
  std::vector<std::string> take_log();

 private:
  FarmHost(Home home, std::string profile) : home_(std::move(home)), profile_(std::move(profile)) {}
  std::expected<void, Error> serve_or_use();
  void log(const std::string& line);

  Home home_;
  std::string profile_;
  std::mutex mutex_;
  std::vector<std::string> log_;
  std::unique_ptr<Farm> farm_;  // null: somebody else's
  std::jthread watcher_;
};

}  // namespace finch::controller
