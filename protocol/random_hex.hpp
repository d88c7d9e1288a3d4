// Unguessable identifiers and tokens. Thread safe.
#pragma once

#include <cstddef>
#include <string>

namespace finch::protocol {

// `bytes` bytes from the operating system's generator, as lower-case hex.
std::string random_hex(std::size_t bytes);

}  // namespace finch::protocol
