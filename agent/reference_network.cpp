#include "agent/reference_network.hpp"

// The assembler copies the files in; the macros are their paths.
// clang-format off
asm(".section .rodata\n"
    ".balign 16\n"
    "finch_reference_onnx_begin:\n"
    ".incbin \"" FINCH_REFERENCE_ONNX "\"\n"
    "finch_reference_onnx_end:\n"
    ".byte 0\n"
    ".balign 16\n"
    "finch_reference_tflite_begin:\n"
    ".incbin \"" FINCH_REFERENCE_TFLITE "\"\n"
    "finch_reference_tflite_end:\n"
    ".byte 0\n"
    ".previous\n");
// clang-format on
extern "C" {
extern const std::byte finch_reference_onnx_begin[];
extern const std::byte finch_reference_onnx_end[];
extern const std::byte finch_reference_tflite_begin[];
extern const std::byte finch_reference_tflite_end[];
}

namespace finch::agent {

std::span<const std::byte> reference_network(std::string_view format) {
  if (format == "tflite") return {finch_reference_tflite_begin, finch_reference_tflite_end};
  return {finch_reference_onnx_begin, finch_reference_onnx_end};
}

}  // namespace finch::agent
