// Which kind of model file this is, and what runs it where nothing else is said. Thread safe.
#pragma once

#include <filesystem>
#include <string_view>

namespace finch::protocol {

// "tflite" for a file that begins like a TensorFlow Lite model, else "onnx".
std::string_view model_format(const std::filesystem::path& model);

// "litert" for "tflite", else "onnxruntime".
std::string_view usual_runtime(std::string_view format);
// The format that a runtime reads: "tflite" for "litert", else "onnx".
std::string_view format_read_by(std::string_view runtime);

}  // namespace finch::protocol
