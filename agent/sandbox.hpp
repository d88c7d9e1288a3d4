// What the measuring process may do and use, whatever the model or the runtime in it wants. Free functions; they act
// on the whole calling process, which must still have one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>

#include "agent/error.hpp"
#include "agent/landlock.hpp"
#include "agent/system_files.hpp"

namespace finch::agent {

struct SandboxLimits {
  std::int64_t memory_bytes = 0;          // of data: heap and private mappings; 0: no limit
  std::chrono::seconds processor_time{};  // of all threads together; 0: no limit
  std::int64_t file_bytes = 0;            // the size to which a file may grow
  bool may_write_files = false;           // create files and open them to write
  bool may_listen_locally = false;        // keep a local socket, as a GPU's driver does
  FileRights files{};                     // where the kernel has Landlock; else all that the user may
};

inline constexpr double kMemoryShare = 0.8;  // the board must live on
// This share of the memory that is free now, by /proc/meminfo and the control group. 0: not known.
std::int64_t memory_to_spare(const SystemFiles& files, double share);

// Takes the rights away, for good: no network, no other processes (neither new ones nor signals to those that are
// there), no changes to the file system, no files but those of `limits.files`, nothing that only root does; and sets
// the limits. When memory runs out on the board, the kernel ends this process first. A kernel without seccomp or
// Landlock (an emulated one) is no error: then the rest holds alone. Errors: a limit cannot be set.
std::expected<void, Error> enter_sandbox(const SandboxLimits& limits);

}  // namespace finch::agent
