// Measures one model file on this machine: launches, interval, memory, energy, verdict. Thread safe; but two at once
// disturb each other.
#pragma once

#include <expected>
#include <filesystem>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/board_power.hpp"
#include "agent/engine_build.hpp"
#include "agent/error.hpp"
#include "agent/inference_runtime.hpp"
#include "agent/launch.hpp"
#include "agent/measure_tier.hpp"
#include "agent/system_files.hpp"
#include "protocol/farm.pb.h"

namespace finch::agent {

struct MeasureSettings {
  Launcher launcher{};
  SystemFiles files{};
  RuntimeLibraries libraries{};
  PowerSettings power{};
  EngineSettings engines{};
  // A model in the reference network's place: the record's ratio is then candidate to rival. Empty: none.
  std::filesystem::path rival{};
  std::vector<protocol::InputShape> shapes{};
  double baseline_ms = 0;                 // of the reference network on this device; 0: not known
  std::optional<double> start_celsius{};  // that the device had when it was calibrated; absent: not known, no wait
  double rate_hz = 0;                     // also run at this rate, and take the energy there; 0: not
  // Shares of 0..1 and what is being done, from the calling thread.
  std::function<void(double, const std::string&)> on_progress{};
};

struct MeasureOutcome {
  protocol::Measurement measurement;
  std::vector<double> latencies_ms;
};

// The record without device, profile, state hash, artifact hash and raw reference, which are the caller's; and every
// latency of the first session in milliseconds, launch by launch. p90 and p99 stay 0 (not known) with a reason when
// there were too few queries for them. The latency's interval is that of the candidate's own round medians, so it
// contains the device's drift; precision is judged by the ratio to the reference network, from which drift cancels.
// Where the runtime compiles models ahead, that comes first, for the rival too, and is no part of the seconds. A model
// that crashes, hangs or wants too much memory gets the verdict INVALID with the reason, and no figures.
// Errors: what deploy asks for is not there (says what is), the model does not load or run; retryable: a stop.
std::expected<MeasureOutcome, Error> measure(const std::filesystem::path& model, const protocol::Deploy& deploy,
                                             const MeasureTier& tier, const MeasureSettings& settings,
                                             std::stop_token stop);

// The latencies as a file: little-endian float64, one after another.
std::string encode_latencies(const std::vector<double>& latencies_ms);

// Whether this agent can run it: a runtime of inference_runtimes(), 1..1024 threads, batch >= 1.
std::expected<void, Error> check_deploy(const protocol::Deploy& deploy);

}  // namespace finch::agent
