// Resizes 8-bit images. Thread safe.
#pragma once

#include <cstdint>

namespace finch::trainer {

// Interleaved channels [height, width, channels], linear values. The triangle filter is bilinear interpolation, widened
// where it shrinks. False: out of memory. REQUIRES: `out` holds out_width * out_height * channels values.
bool resize_image(const std::uint8_t* in, int in_width, int in_height, std::uint8_t* out, int out_width, int out_height,
                  int channels);

}  // namespace finch::trainer
