#include "trainer/image_file.hpp"

#include <stb_image.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include "trainer/image_resize.hpp"

namespace finch::trainer {
namespace {

constexpr std::int64_t kMostPixels = std::int64_t{1} << 26;  // a damaged head must not reserve all memory

using Bytes = std::vector<std::uint8_t>;

// `why` may hold bytes of the file.
Error unreadable(const std::filesystem::path& path, std::string why) {
  std::ranges::replace_if(why, [](unsigned char c) { return std::isprint(c) == 0; }, '?');
  return {path.string() + ": not a readable JPEG or PNG image (" + why + "); repair or remove it"};
}

// LibJPEG and its kin show what there is of a truncated picture, grey below; a data set is better off without it. Its
// segments are walked through up to the pixels, so that the end marker of a thumbnail in them is not mistaken.
bool is_truncated_jpeg(const Bytes& bytes) {
  constexpr std::uint8_t kMarker = 0xFF, kStart = 0xD8, kEnd = 0xD9, kPixels = 0xDA;
  if (bytes.size() < 4 || bytes[0] != kMarker || bytes[1] != kStart) return false;
  std::size_t at = 2;
  while (at + 4 <= bytes.size() && bytes[at] == kMarker && bytes[at + 1] != kPixels) {
    const std::size_t length = std::size_t{bytes[at + 2]} << 8 | bytes[at + 3];
    at += bytes[at + 1] == kMarker ? 1 : 2 + length;
  }
  for (; at + 1 < bytes.size(); ++at) {
    if (bytes[at] == kMarker && bytes[at + 1] == kEnd) return false;
  }
  return true;
}

struct OpenImage {
  Bytes bytes;
  ImageFacts facts;
};

std::expected<OpenImage, Error> open_image(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  OpenImage image{.bytes = {std::istreambuf_iterator<char>(file), {}}, .facts = {}};
  if (!file || image.bytes.empty()) return std::unexpected(unreadable(path, "empty, or it may not be read"));
  ImageFacts& facts = image.facts;
  if (stbi_info_from_memory(image.bytes.data(), static_cast<int>(image.bytes.size()), &facts.width, &facts.height,
                            &facts.channels) == 0) {
    return std::unexpected(unreadable(path, stbi_failure_reason()));
  }
  if (std::int64_t{facts.width} * facts.height > kMostPixels) {
    return std::unexpected(unreadable(path, "its head states more than 67 million pixels"));
  }
  if (is_truncated_jpeg(image.bytes)) return std::unexpected(unreadable(path, "it ends too early"));
  return image;
}

}  // namespace

std::expected<ImageFacts, Error> inspect_image(const std::filesystem::path& path) {
  return open_image(path).transform([](const OpenImage& image) { return image.facts; });
}

std::expected<std::vector<std::uint8_t>, Error> load_image(const std::filesystem::path& path, int width, int height,
                                                           int channels) {
  const auto image = open_image(path);
  if (!image) return std::unexpected(image.error());
  int in_width = 0, in_height = 0, in_file = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> loaded(
      stbi_load_from_memory(image->bytes.data(), static_cast<int>(image->bytes.size()), &in_width, &in_height, &in_file,
                            channels),
      stbi_image_free);
  if (!loaded) return std::unexpected(unreadable(path, stbi_failure_reason()));
  const auto area = static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
  const auto depth = static_cast<std::size_t>(channels);
  Bytes resized;
  const std::uint8_t* interleaved = loaded.get();
  if (in_width != width || in_height != height) {
    resized.resize(area * depth);
    if (!resize_image(interleaved, in_width, in_height, resized.data(), width, height, channels)) {
      return std::unexpected(unreadable(path, "out of memory while it was resized"));
    }
    interleaved = resized.data();
  }
  Bytes pixels(area * depth);
  auto out = pixels.begin();
  for (std::size_t c = 0; c < depth; ++c) {
    for (std::size_t p = 0; p < area; ++p) *out++ = interleaved[p * depth + c];
  }
  return pixels;
}

}  // namespace finch::trainer
