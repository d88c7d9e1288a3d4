// Reads IDX files, the format of MNIST and Fashion-MNIST, plain or gzip-compressed. Pure functions; thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <vector>

#include "trainer/error.hpp"

namespace finch::trainer {

// An IDX file of unsigned bytes: `bytes` holds the product of `dimensions`, the last one varying fastest.
struct IdxArray {
  std::vector<std::int64_t> dimensions;
  std::vector<std::uint8_t> bytes;
};

// Errors, each naming the file: missing, not IDX of bytes, ends too early, bytes left over, damaged gzip.
std::expected<IdxArray, Error> read_idx(const std::filesystem::path& path);

}  // namespace finch::trainer
