// OpenVINO behind agent/inference_backend.hpp, through its C interface; it reads ONNX files itself and runs them on the
// processor. Only for the measuring child process.
#pragma once

#include <expected>
#include <filesystem>
#include <memory>

#include "agent/error.hpp"
#include "agent/inference_backend.hpp"

namespace finch::agent {

// Errors: cannot be loaded (says why), not OpenVINO.
std::expected<std::unique_ptr<InferenceBackend>, Error> open_openvino(const std::filesystem::path& library);

}  // namespace finch::agent
