// Takes the calling process's rights to files away, but for those that are named, by the kernel's Landlock. Free
// functions; the process must still have one thread.
#pragma once

#include <expected>
#include <filesystem>
#include <vector>

#include "agent/error.hpp"

namespace finch::agent {

// Files, and folders with all that lies below. What is not there is left out.
struct FileRights {
  std::vector<std::filesystem::path> read;     // and run, as libraries are
  std::vector<std::filesystem::path> write;    // and read; in a folder also make and remove
  std::vector<std::filesystem::path> devices;  // open for both
};

// Of the interface that this kernel has, 1 or more; 0: it has none, or it is not permitted here.
int landlock_version();

// For good, also for what the process starts. What is open stays open. A kernel without Landlock is no error: nothing
// is taken away then. REQUIRES: no_new_privs is set, or the process is privileged.
std::expected<void, Error> keep_only(const FileRights& rights);

}  // namespace finch::agent
