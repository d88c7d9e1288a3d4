#include "trainer/image_resize.hpp"

// Version 2 of stb's resizer comes as a header alone; version 1, in libstb, asserts on strongly shrunk images.
#define STB_IMAGE_RESIZE_STATIC
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#include <stb_image_resize2.h>

namespace finch::trainer {

bool resize_image(const std::uint8_t* in, int in_width, int in_height, std::uint8_t* out, int out_width, int out_height,
                  int channels) {
  // One or three plain channels: the layouts' values are the channel counts.
  const auto layout = static_cast<stbir_pixel_layout>(channels);
  return stbir_resize(in, in_width, in_height, 0, out, out_width, out_height, 0, layout, STBIR_TYPE_UINT8,
                      STBIR_EDGE_CLAMP, STBIR_FILTER_TRIANGLE) != nullptr;
}

}  // namespace finch::trainer
