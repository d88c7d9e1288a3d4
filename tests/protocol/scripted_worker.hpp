// A real worker on a thread of its own against a controller that the test plays.
#pragma once

#include <atomic>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "scripted_controller.hpp"
#include "scripted_handler.hpp"

namespace finch::protocol {

class ScriptedWorkerTest : public ScriptedControllerTest {
 protected:
  ~ScriptedWorkerTest() override {
    if (worker_.joinable()) (void)stop_worker();
  }

  std::filesystem::path state_folder() const { return folder / "board"; }
  void start_worker() {
    stop_ = std::stop_source();
    done_ = false;
    options_ = {
        .host = "127.0.0.1", .port = port(), .state_folder = state_folder(), .log = [this](const std::string& line) {
          const std::scoped_lock lock(log_mutex_);
          log_.push_back(line);
        }};
    options_.alive = [this] {
      ++signs_of_life;
      const std::scoped_lock lock(log_mutex_);
      life_threads_.insert(std::this_thread::get_id());
    };
    options_.alive_interval = std::chrono::milliseconds(1);
    worker_ = std::jthread([this, token = stop_.get_token()] {
      ended_ = run_worker(options_, handler, token);
      done_ = true;
    });
  }
  std::expected<void, Error> stop_worker() {
    stop_.request_stop();
    return wait_for_worker();
  }
  std::expected<void, Error> wait_for_worker() {
    until([&] { return done_.load(); });
    worker_.join();
    forget_connection();
    return ended_;
  }
  void wait_until_running(const std::string& job) {
    until([&] { return handler.running() == job; });
  }
  std::vector<std::string> log_lines() {
    const std::scoped_lock lock(log_mutex_);
    return log_;
  }

  std::set<std::thread::id> life_threads() {
    const std::scoped_lock lock(log_mutex_);
    return life_threads_;
  }

  // Returns when the worker has handled all that was sent before. REQUIRES: welcomed, not paused.
  void barrier() {
    const std::string hash = ArtifactStore(state_folder() / "artifacts").add_bytes("barrier").value();
    want(hash, 0);
    next(ToController::kArtifactChunk);
  }

  ScriptedHandler handler;
  std::atomic<int> signs_of_life = 0;

 private:
  WorkerOptions options_;
  std::stop_source stop_;
  std::atomic<bool> done_ = false;
  std::expected<void, Error> ended_;
  std::mutex log_mutex_;
  std::vector<std::string> log_;
  std::set<std::thread::id> life_threads_;
  std::jthread worker_;
};

}  // namespace finch::protocol
