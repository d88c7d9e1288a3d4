#include "trainer/randaugment.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

namespace finch::trainer {
namespace {

using Table = std::array<std::uint8_t, 256>;

std::uint8_t to_byte(double value) {
  return static_cast<std::uint8_t>(std::clamp(value + 0.5, 0.0, 255.0));
}

Table table_of(const auto& function) {
  Table table;
  for (std::size_t i = 0; i < table.size(); ++i) table[i] = function(static_cast<int>(i));
  return table;
}

void look_up(std::span<std::uint8_t> values, const Table& table) {
  for (std::uint8_t& value : values) value = table[value];
}

std::span<std::uint8_t> plane(Picture& picture, std::int64_t channel) {
  const auto area = static_cast<std::size_t>(picture.height * picture.width);
  return std::span(picture.pixels).subspan(static_cast<std::size_t>(channel) * area, area);
}

void auto_contrast(std::span<std::uint8_t> values) {
  const auto [low, high] = std::ranges::minmax(values);
  if (low == high) return;
  const double scale = 255.0 / (high - low);
  look_up(values, table_of([&, low](int value) { return to_byte((value - low) * scale); }));
}

void equalize(std::span<std::uint8_t> values) {
  std::array<std::size_t, 256> counts{};
  for (const std::uint8_t value : values) ++counts[value];
  const std::size_t brightest = counts[std::ranges::max(values)];
  const std::size_t step = (values.size() - brightest) / 255;
  if (step == 0) return;
  std::size_t below = step / 2;
  look_up(values, table_of([&](int value) {
            const auto level = static_cast<std::uint8_t>(std::min<std::size_t>(255, below / step));
            below += counts[static_cast<std::size_t>(value)];
            return level;
          }));
}

// Where the output's pixel comes from, both about the centre: [a b; c d] (x, y) + (e, f), nearest neighbour.
struct Affine {
  double a = 1, b = 0, c = 0, d = 1, e = 0, f = 0;
};

void warp(Picture& picture, const Affine& from) {
  const std::vector<std::uint8_t> before = picture.pixels;
  const std::int64_t width = picture.width, height = picture.height, area = width * height;
  const double middle_x = static_cast<double>(width - 1) / 2, middle_y = static_cast<double>(height - 1) / 2;
  for (std::int64_t y = 0; y < height; ++y) {
    for (std::int64_t x = 0; x < width; ++x) {
      const double dx = static_cast<double>(x) - middle_x, dy = static_cast<double>(y) - middle_y;
      const auto source_x = static_cast<std::int64_t>(std::floor(from.a * dx + from.b * dy + from.e + middle_x + 0.5));
      const auto source_y = static_cast<std::int64_t>(std::floor(from.c * dx + from.d * dy + from.f + middle_y + 0.5));
      const bool inside = source_x >= 0 && source_x < width && source_y >= 0 && source_y < height;
      for (std::int64_t channel = 0; channel < picture.channels; ++channel) {
        picture.pixels[static_cast<std::size_t>(channel * area + y * width + x)] =
            inside ? before[static_cast<std::size_t>(channel * area + source_y * width + source_x)] : std::uint8_t{0};
      }
    }
  }
}

// Rec. 601, as PIL makes grey.
double grey(const Picture& picture, std::size_t pixel) {
  const auto area = static_cast<std::size_t>(picture.height * picture.width);
  if (picture.channels != 3) return picture.pixels[pixel];
  return 0.299 * picture.pixels[pixel] + 0.587 * picture.pixels[area + pixel] +
         0.114 * picture.pixels[2 * area + pixel];
}

void blend_with_grey(Picture& picture, double factor) {
  if (picture.channels != 3) return;
  const auto area = static_cast<std::size_t>(picture.height * picture.width);
  for (std::size_t p = 0; p < area; ++p) {
    const double base = grey(picture, p);
    for (std::size_t c = 0; c < 3; ++c) {
      std::uint8_t& value = picture.pixels[c * area + p];
      value = to_byte(base + factor * (value - base));
    }
  }
}

void contrast(Picture& picture, double factor) {
  const auto area = static_cast<std::size_t>(picture.height * picture.width);
  double sum = 0;
  for (std::size_t p = 0; p < area; ++p) sum += grey(picture, p);
  const double mean = sum / static_cast<double>(area);
  look_up(picture.pixels, table_of([&](int value) { return to_byte(mean + factor * (value - mean)); }));
}

// PIL's smoothing: 3 x 3, the centre counts five times; the border stays.
void sharpness(Picture& picture, double factor) {
  const std::vector<std::uint8_t> before = picture.pixels;
  const std::int64_t width = picture.width;
  for (std::int64_t channel = 0; channel < picture.channels; ++channel) {
    for (std::int64_t y = 1; y + 1 < picture.height; ++y) {
      for (std::int64_t x = 1; x + 1 < width; ++x) {
        const auto at = static_cast<std::size_t>((channel * picture.height + y) * width + x);
        int sum = 4 * before[at];
        for (std::int64_t dy = -1; dy <= 1; ++dy) {
          const std::uint8_t* row = before.data() + static_cast<std::ptrdiff_t>(at) + dy * width;
          sum += row[-1] + row[0] + row[1];
        }
        const double smooth = sum / 13.0;
        picture.pixels[at] = to_byte(smooth + factor * (before[at] - smooth));
      }
    }
  }
}

}  // namespace

void apply(PictureOperation operation, double strength, Picture& picture) {
  constexpr double kShear = 0.3, kTranslate = 0.45, kDegrees = 30, kEnhance = 0.9;
  const double factor = 1 + kEnhance * strength;
  switch (operation) {
    case PictureOperation::identity:
      return;
    case PictureOperation::auto_contrast:
      for (std::int64_t c = 0; c < picture.channels; ++c) auto_contrast(plane(picture, c));
      return;
    case PictureOperation::equalize:
      for (std::int64_t c = 0; c < picture.channels; ++c) equalize(plane(picture, c));
      return;
    case PictureOperation::shear_x:
      return warp(picture, {.b = kShear * strength});
    case PictureOperation::shear_y:
      return warp(picture, {.c = kShear * strength});
    case PictureOperation::translate_x:
      return warp(picture, {.e = kTranslate * strength * static_cast<double>(picture.width)});
    case PictureOperation::translate_y:
      return warp(picture, {.f = kTranslate * strength * static_cast<double>(picture.height)});
    case PictureOperation::rotate: {
      const double angle = kDegrees * strength * std::numbers::pi / 180;
      return warp(picture, {.a = std::cos(angle), .b = -std::sin(angle), .c = std::sin(angle), .d = std::cos(angle)});
    }
    case PictureOperation::brightness:
      return look_up(picture.pixels, table_of([&](int value) { return to_byte(factor * value); }));
    case PictureOperation::color:
      return blend_with_grey(picture, factor);
    case PictureOperation::contrast:
      return contrast(picture, factor);
    case PictureOperation::sharpness:
      return sharpness(picture, factor);
    case PictureOperation::posterize: {
      const auto dropped = static_cast<unsigned>(std::lround(4 * std::abs(strength)));
      return look_up(picture.pixels, table_of([&](int value) {
                       return static_cast<std::uint8_t>(static_cast<unsigned>(value) >> dropped << dropped);
                     }));
    }
    case PictureOperation::solarize: {
      const double threshold = 256 * (1 - std::abs(strength));
      return look_up(picture.pixels, table_of([&](int value) {
                       return static_cast<std::uint8_t>(value >= threshold ? 255 - value : value);
                     }));
    }
  }
}

void randaugment(Picture& picture, std::int64_t count, double magnitude, RandomGenerator& generator) {
  for (std::int64_t i = 0; i < count; ++i) {
    const auto operation = kPictureOperations[generator() % kPictureOperations.size()];
    const double sign = (generator() & 1U) != 0 ? 1 : -1;
    apply(operation, sign * magnitude / kGreatestMagnitude, picture);
  }
}

}  // namespace finch::trainer
