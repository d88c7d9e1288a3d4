// Named tensors as safetensors files, which PyTorch, JAX and others read: 8 bytes of the header's length, JSON, bytes.
// Format: https://huggingface.co/docs/safetensors. Pure functions; thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <map>
#include <string>

#include "trainer/error.hpp"
#include "trainer/tensor_file.hpp"

namespace finch::trainer {

// `metadata`: strings for people, as "origin". The same tensors give the same bytes. Errors: a type that the format or
// Finch has no name for.
std::expected<std::string, Error> serialize_safetensors(const NamedTensors& tensors,
                                                        const std::map<std::string, std::string>& metadata = {});
// Errors: not readable, not such a file, sizes that do not fit (names file and tensor).
std::expected<NamedTensors, Error> load_safetensors(const std::filesystem::path& path);

// A safetensors file, all tensors as float32, or one that serialize_tensors() wrote. Errors: neither of them.
std::expected<NamedTensors, Error> load_weights(const std::filesystem::path& path);

}  // namespace finch::trainer
