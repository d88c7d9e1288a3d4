// Named tensors in a file: checkpoints, the built-in teacher, soft targets. Pure functions; thread safe.
#pragma once

#include <torch/torch.h>

#include <expected>
#include <filesystem>
#include <map>
#include <string>

#include "trainer/error.hpp"

namespace finch::trainer {

using NamedTensors = std::map<std::string, torch::Tensor>;

// Pickled dict of strings to tensors, as torch.load() of Python reads it. The same tensors give the same bytes.
std::string serialize_tensors(const NamedTensors& tensors);
// Error: not readable, not such a file (names it).
std::expected<NamedTensors, Error> load_tensors(const std::filesystem::path& path);

}  // namespace finch::trainer
