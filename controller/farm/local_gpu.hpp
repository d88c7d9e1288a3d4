// The NVIDIA GPU of this machine, and whether the trainer uses it. Thread safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace finch::controller {

struct LocalGpu {
  std::string name;              // "NVIDIA GeForce RTX 4090", or where it sits when the driver is not loaded
  bool usable = false;           // by the trainer that is built
  std::int64_t free_memory = 0;  // bytes; 0: the driver's nvidia-smi does not say
  // How many trainings it has room for at once; 1 at least.
  int trainings() const;
  // What to know of it, and what to do where it lies idle.
  std::string advice() const;
};

// The first of several. `trainer`: the program finch-trainer, which is asked only where there is a GPU. `root`: of /sys
// and /proc.
std::optional<LocalGpu> find_local_gpu(const std::filesystem::path& trainer, const std::filesystem::path& root = "/");

}  // namespace finch::controller
