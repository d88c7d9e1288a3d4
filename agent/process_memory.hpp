// Peak memory of the calling process as the kernel counts it (VmHWM). Free functions; they act on the whole process.
#pragma once

#include <cstdint>
#include <expected>

#include "agent/error.hpp"

namespace finch::agent {

// The peak begins anew at what is resident now. The first call opens the kernel's file and keeps it: later calls work
// in a sandbox too. Error: the kernel does not offer it.
std::expected<void, Error> reset_peak_memory();
std::expected<std::int64_t, Error> peak_memory_bytes();

}  // namespace finch::agent
