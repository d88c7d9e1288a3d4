#include "protocol/model_format.hpp"

#include <array>
#include <fstream>

namespace finch::protocol {

std::string_view model_format(const std::filesystem::path& model) {
  // A FlatBuffer's file identifier follows its first offset.
  constexpr std::string_view kIdentifier = "TFL3";
  std::array<char, 8> head{};
  std::ifstream file(model, std::ios::binary);
  file.read(head.data(), head.size());
  return std::string_view(head.data() + 4, kIdentifier.size()) == kIdentifier ? "tflite" : "onnx";
}

std::string_view usual_runtime(std::string_view format) {
  return format == "tflite" ? "litert" : "onnxruntime";
}

std::string_view format_read_by(std::string_view runtime) {
  return runtime == "litert" ? "tflite" : "onnx";
}

}  // namespace finch::protocol
