// LiteRT (TensorFlow Lite) behind agent/inference_backend.hpp, through its C interface; runs .tflite files on the
// processor, with XNNPACK. Only for the measuring child process.
#pragma once

#include <expected>
#include <filesystem>
#include <memory>

#include "agent/error.hpp"
#include "agent/inference_backend.hpp"

namespace finch::agent {

// Errors: cannot be loaded (says why), not LiteRT.
std::expected<std::unique_ptr<InferenceBackend>, Error> open_litert(const std::filesystem::path& library);

}  // namespace finch::agent
