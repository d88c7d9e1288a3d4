#include "agent/reference_network.hpp"

// The assembler copies the file in; FINCH_REFERENCE_NETWORK is its path.
// clang-format off
asm(".section .rodata\n"
    ".balign 16\n"
    "finch_reference_network_begin:\n"
    ".incbin \"" FINCH_REFERENCE_NETWORK "\"\n"
    "finch_reference_network_end:\n"
    ".byte 0\n"
    ".previous\n");
// clang-format on
extern "C" {
extern const std::byte finch_reference_network_begin[];
extern const std::byte finch_reference_network_end[];
}

namespace finch::agent {

std::span<const std::byte> reference_network() {
  return {finch_reference_network_begin, finch_reference_network_end};
}

}  // namespace finch::agent
