// The fixed network measured beside every candidate, part of the program. Thread safe.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

namespace finch::agent {

// float32 [1, 3, 32, 32] -> [1, 10] as "onnx", [1, 32, 32, 3] -> [1, 10] as "tflite": the same network with the same
// weights. Made by reference_network.py.
std::span<const std::byte> reference_network(std::string_view format);

}  // namespace finch::agent
