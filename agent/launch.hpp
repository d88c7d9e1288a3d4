// Runs a task in a measuring process of its own, so that a runtime that crashes costs one measurement and not the
// agent. The process dies with the agent. Thread safe.
#pragma once

#include <chrono>
#include <expected>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string_view>

#include "agent/error.hpp"
#include "agent/launch.pb.h"

namespace finch::agent {

struct LaunchSettings {
  std::filesystem::path program;               // finch-agent; empty: the running program
  std::chrono::milliseconds silence{600'000};  // a process that reports nothing for so long is hung
};

// How measure() and evaluate() start their processes; tests put a script in its place.
// Blocks until the result is there; `on_progress` hears shares of 0..1 from the same thread.
// Errors: what the task reports; not retryable. The process died or hung (says how, with its last words), stop was
// requested (it is killed then): retryable.
using Launcher = std::function<std::expected<LaunchEvent, Error>(
    const LaunchRequest& request, const std::function<void(double)>& on_progress, std::stop_token stop)>;

Launcher process_launcher(LaunchSettings settings = {});

// ONNX Runtime of Debian prints more than a thousand of these at its first session, because libonnx registered the
// same operators before. Harmless, and of no use to anybody.
bool is_schema_noise(std::string_view line);

}  // namespace finch::agent
