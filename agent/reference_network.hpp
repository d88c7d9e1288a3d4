// The fixed network measured beside every candidate, part of the program. Thread safe.
#pragma once

#include <cstddef>
#include <span>

namespace finch::agent {

// An ONNX file, float32 [1, 3, 32, 32] -> [1, 10]; made by reference_network.py.
std::span<const std::byte> reference_network();

}  // namespace finch::agent
