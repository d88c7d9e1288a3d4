// A JobHandler that does what a test tells it, job by job (a job's name is the device its Measure asks for). Thread
// safe.
#pragma once

#include <condition_variable>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "protocol/artifact_store.hpp"
#include "protocol/durable_file.hpp"
#include "protocol/farm.pb.h"
#include "protocol/worker.hpp"

namespace finch::protocol {

class ScriptedHandler : public JobHandler {
 public:
  // Before the job is leased: it waits for release() or its stop, throws, writes an output (named by its hash, or
  // wrongly).
  void block(const std::string& job) {
    change([&] { blocked_.insert(job); });
  }
  void release(const std::string& job) {
    change([&] { blocked_.erase(job); });
  }
  void throw_in(const std::string& job) {
    change([&] { throwing_.insert(job); });
  }
  std::string will_write(const std::string& job, const std::string& bytes, std::string name = {}) {
    if (name.empty()) name = sha256_hex(bytes);
    change([&] { outputs_[job] = {name, bytes}; });
    return name;
  }

  std::string running() const { return read(running_); }
  void report_progress(const std::string& job, double fraction) {
    const std::scoped_lock lock(mutex_);
    if (running_ == job) context_->progress(fraction, "working");
  }
  std::vector<std::string> runs() const { return read(runs_); }
  std::size_t threads_seen() const { return read(threads_).size(); }
  std::set<std::thread::id> network_threads() const { return read(network_threads_); }
  bool paused() const { return read(paused_); }
  bool was_stopped(const std::string& job) const { return read(stopped_).contains(job); }
  std::string input_of(const std::string& job) const { return read(inputs_)[job]; }

  Hello hello() override {
    change([&] { network_threads_.insert(std::this_thread::get_id()); });
    Hello hello;
    hello.set_role(AGENT);
    hello.set_host("this-host");
    hello.add_held()->set_job_key("the worker fills this in");
    return hello;
  }

  JobResult run(const Job& job, JobContext& context) override {
    const std::string name = job.measure().device();
    JobResult result;
    result.mutable_measurement()->set_device(name);
    std::unique_lock lock(mutex_);
    runs_.push_back(name);
    threads_.insert(std::this_thread::get_id());
    for (const auto& [hash, path] : context.artifacts()) inputs_[name] = read_whole_file(path).value_or("unreadable");
    running_ = name;
    context_ = &context;
    changed_.notify_all();
    changed_.wait(lock, context.stop_token(), [&] { return !blocked_.contains(name); });
    running_.clear();
    context_ = nullptr;
    if (context.stop_token().stop_requested()) {
      stopped_.insert(name);
      result.mutable_failure()->set_message("stopped");
    }
    if (throwing_.contains(name)) throw std::runtime_error("thrown");
    if (const auto output = outputs_.find(name); output != outputs_.end()) {
      std::ofstream(context.output_folder() / output->second.first, std::ios::binary) << output->second.second;
      result.mutable_measurement()->mutable_raw()->set_sha256(output->second.first);
    }
    return result;
  }
  void pause() override {
    change([&] { paused_ = true; });
  }
  void resume() override {
    change([&] { paused_ = false; });
  }

 private:
  template <class Change>
  void change(Change change) {
    const std::scoped_lock lock(mutex_);
    change();
    changed_.notify_all();
  }
  template <class T>
  T read(const T& value) const {
    const std::scoped_lock lock(mutex_);
    return value;
  }

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::set<std::string> blocked_, throwing_, stopped_;
  std::map<std::string, std::pair<std::string, std::string>> outputs_;
  std::map<std::string, std::string> inputs_;
  std::vector<std::string> runs_;
  std::set<std::thread::id> threads_, network_threads_;
  std::string running_;
  JobContext* context_ = nullptr;
  bool paused_ = false;
};

}  // namespace finch::protocol
