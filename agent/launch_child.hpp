// What runs in the measuring process, `finch-agent measure-launch`: it loads the runtime, does one task, reports.
#pragma once

#include <expected>
#include <functional>

#include "agent/error.hpp"
#include "agent/inference_backend.hpp"
#include "agent/launch.pb.h"

namespace finch::agent {

// One request from stdin, events to file descriptor 3. The exit status of the process.
int serve_launch();

// The task itself, on any backend. The result, or why there is none.
std::expected<LaunchEvent, Error> perform_launch(const LaunchRequest& request, InferenceBackend& backend,
                                                 const std::function<void(double)>& on_progress);

}  // namespace finch::agent
