// Which files a launch needs: the system's libraries, the runtime's, the model with its weights, and what the task
// names. Free functions; thread safe.
#pragma once

#include <filesystem>
#include <vector>

#include "agent/landlock.hpp"

namespace finch::agent {

class LaunchRequest;

// `library`: the runtime's file. A file that the task writes is made here, as it cannot be later.
FileRights rights_of(const LaunchRequest& request, const std::filesystem::path& library);

// Files of weights that an ONNX model names (TensorProto.external_data), in its folder or below; others are left out.
std::vector<std::filesystem::path> weights_of(const std::filesystem::path& model);

// Whether the provider works through devices, such as a GPU's.
bool uses_devices(const LaunchRequest& request);

}  // namespace finch::agent
