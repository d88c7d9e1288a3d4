// An empty folder that goes away with the test, in memory where the system offers that: a campaign makes hundreds of
// durable commits, and tests need not wait for a disk. Not thread safe.
#pragma once

#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <stdexcept>
#include <string>

namespace finch::controller {

class MemoryFolder {
 public:
  MemoryFolder() {
    const char* memory = "/dev/shm";
    const auto parent =
        access(memory, W_OK) == 0 ? std::filesystem::path(memory) : std::filesystem::temp_directory_path();
    std::string name = (parent / "finch-test-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("cannot make " + name);
    path_ = name;
  }
  MemoryFolder(const MemoryFolder&) = delete;
  MemoryFolder& operator=(const MemoryFolder&) = delete;
  ~MemoryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace finch::controller
