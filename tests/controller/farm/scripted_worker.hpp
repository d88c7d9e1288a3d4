// A worker in this process, over real sockets, whose jobs do what the test says. Thread safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <expected>
#include <filesystem>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "protocol/farm.pb.h"
#include "protocol/worker.hpp"

namespace finch::controller {

class ScriptedWorker : private protocol::JobHandler {
 public:
  using Script = std::function<protocol::JobResult(const protocol::Job&, protocol::JobContext&)>;

  ScriptedWorker(protocol::Role role, std::string host, std::uint16_t port, std::filesystem::path state, Script script)
      : role_(role), host_(std::move(host)), script_(std::move(script)) {
    thread_ = std::jthread([this, port, state = std::move(state)](std::stop_token stop) {
      const protocol::WorkerOptions options{
          .host = "127.0.0.1", .port = port, .state_folder = state, .log = [this](const std::string& line) {
            const std::scoped_lock lock(mutex_);
            log_.push_back(line);
            changed_.notify_all();
          }};
      auto end = protocol::run_worker(options, *this, stop);
      const std::scoped_lock lock(mutex_);
      ended_ = true;
      if (!end) end_error_ = end.error().message;
      changed_.notify_all();
    });
  }
  ~ScriptedWorker() override { release(); }

  // Lets scripts that wait go on, now and later.
  void release() {
    const std::scoped_lock lock(mutex_);
    released_ = true;
    changed_.notify_all();
  }
  // For scripts: until release() or until the job is to stop; true when released.
  bool wait_for_release(const std::stop_token& stop) {
    const std::stop_callback wake(stop, [this] {
      const std::scoped_lock lock(mutex_);
      changed_.notify_all();
    });
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return released_ || stop.stop_requested(); });
    return released_;
  }
  bool paused() const { return paused_; }
  int jobs_begun() const { return jobs_begun_; }

  // Waits until it has ended by itself; why.
  std::string wait_for_end() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return ended_; });
    return end_error_;
  }
  // Waits for a log line with this text.
  std::string wait_for_log(const std::string& text) {
    std::unique_lock lock(mutex_);
    std::string found;
    changed_.wait(lock, [&] {
      for (const auto& line : log_) {
        if (line.find(text) != std::string::npos) found = line;
      }
      return !found.empty();
    });
    return found;
  }

 private:
  protocol::Hello hello() override {
    protocol::Hello hello;
    hello.set_role(role_);
    hello.set_host(host_);
    hello.mutable_device()->set_profile("board");
    return hello;
  }
  protocol::JobResult run(const protocol::Job& job, protocol::JobContext& context) override {
    ++jobs_begun_;
    return script_(job, context);
  }
  void pause() override { paused_ = true; }
  void resume() override { paused_ = false; }

  const protocol::Role role_;
  const std::string host_;
  const Script script_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> log_;
  std::string end_error_;
  bool released_ = false, ended_ = false;
  std::atomic<bool> paused_ = false;
  std::atomic<int> jobs_begun_ = 0;
  std::jthread thread_;  // last: ends before the rest is gone
};

}  // namespace finch::controller
