// Reads single JPEG and PNG files. Pure functions; thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <vector>

#include "trainer/error.hpp"

namespace finch::trainer {

struct ImageFacts {
  int width = 0, height = 0;
  int channels = 0;  // 1 or 2: grey, without or with alpha; 3 or 4: colour
};

// What the file's head says. Errors, each naming the file: not readable, neither JPEG nor PNG, a JPEG that ends before
// its end marker, more than 2^26 pixels.
std::expected<ImageFacts, Error> inspect_image(const std::filesystem::path& path);

// Pixels [channels, height, width] of the whole picture, resized where it has another size. REQUIRES: channels is 1 or
// 3. Errors, each naming the file: those of inspect_image(), damaged pixels.
std::expected<std::vector<std::uint8_t>, Error> load_image(const std::filesystem::path& path, int width, int height,
                                                           int channels);

}  // namespace finch::trainer
