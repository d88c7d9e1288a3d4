// Runs a task in a measuring process of its own, so that a runtime that crashes costs one measurement and not the
// agent. The process dies with the agent. Thread safe.
#pragma once

#include <chrono>
#include <expected>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string_view>

#include "agent/error.hpp"
#include "agent/launch.pb.h"

namespace finch::agent {

struct LaunchSettings {
  std::filesystem::path program;  // finch-agent; empty: the running program
  // A process that reports nothing for so long is hung. When the model is run for the first time (the memory task,
  // which reports every inference), a fifth of it.
  std::chrono::milliseconds silence{600'000};
  // While an engine is built, which is one long call. A builder tries hundreds of kernels for each layer.
  std::chrono::milliseconds build_silence{3'600'000};
  std::chrono::seconds build_processor_time{3'600};  // for each thread
  // What it may use; nothing: as much memory as the machine can spare, and 600 s of processor time for each thread when
  // it measures. An evaluation may take as long as its test set.
  std::optional<std::int64_t> memory_bytes{};
  std::optional<std::chrono::seconds> processor_time{};
};

// How measure() and evaluate() start their processes; tests put a script in its place.
// Blocks until the result is there; `on_progress` hears shares of 0..1 from the same thread.
// Errors: what the task reports; not retryable. The process died, hung or used more than it may (says how, with its
// last words; model_failed), stop was requested (it is killed then): retryable.
using Launcher = std::function<std::expected<LaunchEvent, Error>(
    const LaunchRequest& request, const std::function<void(double)>& on_progress, std::stop_token stop)>;

Launcher process_launcher(LaunchSettings settings = {});

// ONNX Runtime of Debian prints more than a thousand of these at its first session, because libonnx registered the
// same operators before. Harmless, and of no use to anybody.
bool is_schema_noise(std::string_view line);

}  // namespace finch::agent
