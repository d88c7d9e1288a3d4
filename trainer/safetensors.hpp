// Reads safetensors files, in which weights are published: an 8-byte little-endian length, a JSON header of so many
// bytes, the tensors' bytes. Pure functions; thread safe.
#pragma once

#include <expected>
#include <filesystem>

#include "trainer/error.hpp"
#include "trainer/tensor_file.hpp"

namespace finch::trainer {

// All tensors as float32, whatever they are stored as (F64, F32, F16, BF16, I64, I32). Errors: not readable, not such a
// file or a damaged one, a tensor of another type.
std::expected<NamedTensors, Error> load_safetensors(const std::filesystem::path& path);

// A safetensors file, or one that serialize_tensors() wrote. Errors: neither of them.
std::expected<NamedTensors, Error> load_weights(const std::filesystem::path& path);

}  // namespace finch::trainer
