// ONNX Runtime behind agent/inference_backend.hpp, loaded with dlopen through its C interface (GetApi(16): every
// library from 1.16 on will do). Only for the measuring child process: a library may kill its process while it loads.
#pragma once

#include <expected>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "agent/error.hpp"
#include "agent/inference_backend.hpp"

namespace finch::agent {

// Why the library would kill its process on this machine: Debian's arm64 builds before 1.22 use FP16 arithmetic without
// asking whether the cores have it (bit 10 of AT_HWCAP), and die with SIGILL on a Raspberry Pi 4.
// `machine` as uname prints it.
std::optional<std::string> refuse_library(const std::filesystem::path& library, std::string_view machine,
                                          unsigned long hwcap);

// Errors: cannot be loaded (says why), older than 1.16, not ONNX Runtime, refused by refuse_library().
std::expected<std::unique_ptr<InferenceBackend>, Error> open_onnxruntime(const std::filesystem::path& library);

}  // namespace finch::agent
