#include "controller/cli/farm_host.hpp"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <format>
#include <utility>

#include "controller/farm/dispatcher.hpp"
#include "controller/farm/serve_lock.hpp"

namespace finch::controller {

std::expected<void, Error> check_local_agent(const Home& home, const std::vector<std::string>& devices) {
  const auto program = program_folder() / "finch-agent";
  if (!std::ranges::contains(devices, kLocalAgent) || ::access(program.c_str(), X_OK) == 0) return {};
  if (is_claimed(home) || running_farm(home)) return {};  // whoever serves it starts an agent of his own
  return std::unexpected(
      Error{std::format("{} is missing, so nothing can be measured on this machine; build it (scripts/finch does), or "
                        "measure on a board",
                        program.string())});
}

std::expected<std::unique_ptr<FarmHost>, Error> FarmHost::start(const Home& home, const std::string& local_profile) {
  std::unique_ptr<FarmHost> host(new FarmHost(home, local_profile));
  if (const auto ready = host->serve_or_use(); !ready) return std::unexpected(ready.error());
  host->watcher_ = std::jthread([owner = host.get()](std::stop_token stop) {
    std::mutex mutex;
    std::condition_variable_any changed;
    std::unique_lock lock(mutex);
    while (!changed.wait_for(lock, stop, std::chrono::seconds(1), [] { return false; }) && !stop.stop_requested()) {
      if (owner->farm_ && is_claimed(owner->home_)) {
        owner->farm_.reset();
        owner->log("finch serve takes the farm over");
      }
      if (!owner->farm_) (void)owner->serve_or_use();
    }
  });
  return host;
}

std::expected<void, Error> FarmHost::serve_or_use() {
  if (is_claimed(home_) || running_farm(home_)) return {};
  FarmOptions options;
  options.local_profile = profile_;
  options.log = [this](const std::string& line) { log(line); };
  auto farm = Farm::start(home_, std::move(options));
  if (!farm) {
    if (running_farm(home_)) return {};  // another process was quicker
    return std::unexpected(farm.error());
  }
  farm_ = std::move(*farm);
  return {};
}

FarmHost::~FarmHost() {
  watcher_.request_stop();
  if (watcher_.joinable()) watcher_.join();
}

void FarmHost::log(const std::string& line) {
  const std::scoped_lock lock(mutex_);
  log_.push_back(line);
}

std::vector<std::string> FarmHost::take_log() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(log_, {});
}

}  // namespace finch::controller
