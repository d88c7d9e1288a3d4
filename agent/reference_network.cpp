#include "agent/reference_network.hpp"

// The assembler copies the files in; the macros are their paths. The names are global, but hidden: for local ones the
// linker for arm64 makes a single entry of its table of addresses, and each file would begin where it ends.
// clang-format off
asm(".section .rodata\n"
    ".balign 16\n"
    ".globl finch_reference_onnx_begin\n"
    "finch_reference_onnx_begin:\n"
    ".incbin \"" FINCH_REFERENCE_ONNX "\"\n"
    ".globl finch_reference_onnx_end\n"
    "finch_reference_onnx_end:\n"
    ".byte 0\n"
    ".balign 16\n"
    ".globl finch_reference_tflite_begin\n"
    "finch_reference_tflite_begin:\n"
    ".incbin \"" FINCH_REFERENCE_TFLITE "\"\n"
    ".globl finch_reference_tflite_end\n"
    "finch_reference_tflite_end:\n"
    ".byte 0\n"
    ".previous\n");
// clang-format on
extern "C" {
[[gnu::visibility("hidden")]] extern const std::byte finch_reference_onnx_begin[];
[[gnu::visibility("hidden")]] extern const std::byte finch_reference_onnx_end[];
[[gnu::visibility("hidden")]] extern const std::byte finch_reference_tflite_begin[];
[[gnu::visibility("hidden")]] extern const std::byte finch_reference_tflite_end[];
}

namespace finch::agent {

std::span<const std::byte> reference_network(std::string_view format) {
  if (format == "tflite") return {finch_reference_tflite_begin, finch_reference_tflite_end};
  return {finch_reference_onnx_begin, finch_reference_onnx_end};
}

}  // namespace finch::agent
