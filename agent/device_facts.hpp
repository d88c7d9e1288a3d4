// What a device is and what can be measured on it. Free functions; thread safe.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "agent/board_power.hpp"
#include "agent/error.hpp"
#include "agent/inference_runtime.hpp"
#include "agent/launch.hpp"
#include "agent/system_files.hpp"
#include "protocol/farm.pb.h"

namespace finch::agent {

// CPU, GPU, memory, system, governor, power mode; no runtimes. What is not readable stays empty or 0.
protocol::DeviceDescription read_device(const SystemFiles& files);
// Of these what changes without a restart: governor and power mode.
void read_settings(protocol::DeviceDescription& device, const SystemFiles& files);

// Asks each runtime of `libraries`, and ONNX Runtime in any case, in a process of its own and adds it to the device,
// with what can and cannot be measured and why, and the state hash. A runtime missing or broken is a fact, not an
// error; without any, nothing can be measured.
void add_runtimes(protocol::DeviceDescription& device, const SystemFiles& files, const Launcher& launcher,
                  const RuntimeLibraries& libraries, const PowerSettings& power);

// Name, version and providers, by a process that loads the library (empty: searched for). Errors: as of a launch.
std::expected<protocol::RuntimeDescription, Error> probe_runtime(const InferenceRuntime& runtime,
                                                                 const std::string& library, const Launcher& launcher);

// Why no energy can be measured: no sensor (and where was looked), or one that gives nothing. Empty: it can. Reads the
// sensor, so it takes up to three seconds.
std::string energy_obstacle(const SystemFiles& files, const PowerSettings& power);

// Sets the state hashes of the device and of each of its runtimes: see job.proto. Memory counts in steps of 64 MiB,
// because what the kernel keeps for itself varies between boots.
void set_state_hashes(protocol::DeviceDescription& device);
// Of the runtime on this device; empty: the device does not have it.
std::string state_hash_with(const protocol::DeviceDescription& device, std::string_view runtime);

// The same for all workers on one machine, also in containers and network namespaces of it; another after a reboot.
std::string host_id(const SystemFiles& files);

}  // namespace finch::agent
