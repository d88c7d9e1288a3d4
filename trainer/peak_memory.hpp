// The most memory that this process held at once, as the kernel saw it. Thread safe.
#pragma once

#include <cstdint>

namespace finch::trainer {

// Starts anew from what is held now; where the kernel does not offer that, the peak is of the whole life of the
// process.
void reset_peak_memory();
// VmHWM of /proc/self/status; 0 where it cannot be read.
std::int64_t peak_memory_bytes();

}  // namespace finch::trainer
