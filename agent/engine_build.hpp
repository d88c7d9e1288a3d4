// The phase before a measurement in which a runtime compiles the model, in a process of its own and outside of the
// tier's clock; the launches that follow take the engine from the cache. Free functions; thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>

#include "agent/error.hpp"
#include "agent/inference_runtime.hpp"
#include "agent/launch.hpp"
#include "agent/launch.pb.h"
#include "agent/system_files.hpp"
#include "protocol/farm.pb.h"

namespace finch::agent {

// Where engines are kept, and on what they depend beside the model and how it is deployed.
struct EngineSettings {
  std::filesystem::path folder{};  // of the cache; empty: engines are not kept
  std::string runtime_version{};
  std::string builder{};     // "TensorRT 10.3.0"; empty: the runtime itself
  std::string processor{};   // the GPU, or the board that it is a part of
  std::string power_mode{};  // of nvpmodel; empty: there is none
};

// For what is deployed on this device as it is now, below the agent's state folder (empty: nowhere). No folder where
// the runtime compiles nothing that takes its time.
EngineSettings engines_on(const protocol::DeviceDescription& device, const protocol::Deploy& deploy,
                          const std::filesystem::path& state_folder);
// Likewise, of this machine, which is asked in a process of its own. No folder also where the runtime does not load: a
// measurement will say why.
EngineSettings engines_here(const protocol::Deploy& deploy, const SystemFiles& files, const RuntimeLibraries& libraries,
                            const Launcher& launcher, const std::filesystem::path& state_folder);

struct PreparedEngine {
  std::filesystem::path folder{};  // for LaunchRequest.engine_folder; empty: there is none
  double build_seconds = 0;        // 0: nothing was built
  std::string problem{};           // not empty: why no engine is kept, though the provider makes some
};

// The engine for the model, runtime and deployment of `base`, built if it is not in the cache; `on_build` is called
// before that. Errors: those of the building launch (see launch.hpp), a stop.
std::expected<PreparedEngine, Error> prepare_engine(const LaunchRequest& base, const EngineSettings& settings,
                                                    const Launcher& launcher, const std::function<void()>& on_build,
                                                    const std::stop_token& stop);

}  // namespace finch::agent
