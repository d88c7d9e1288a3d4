#include "trainer/augmentation.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "trainer/randaugment.hpp"

namespace finch::trainer {
namespace {

const std::array<float, 256>& unit_values() {
  static const std::array<float, 256> values = [] {
    std::array<float, 256> result{};
    for (std::size_t i = 0; i < result.size(); ++i) result[i] = static_cast<float>(i) / 255.0F;
    return result;
  }();
  return values;
}

struct Shift {
  std::int64_t x = 0, y = 0;
  bool flip = false;
};

// One pass; `out` is zero where the shift brings nothing in. `value` turns a byte into what `out` holds.
template <typename Out>
void copy_image(const ImageSplit& split, std::int64_t index, const Shift& shift, Out* out, const auto& value) {
  const std::int64_t width = split.width;
  const std::int64_t first = std::max<std::int64_t>(0, shift.x);
  const std::int64_t last = std::min(width, width + shift.x);
  for (std::int64_t channel = 0; channel < split.channels; ++channel) {
    const std::uint8_t* plane = split.image(index) + channel * split.height * width;
    for (std::int64_t y = 0; y < split.height; ++y, out += width) {
      const std::int64_t from = y - shift.y;
      if (from < 0 || from >= split.height || first >= last) {
        std::fill_n(out, width, Out{});
        continue;
      }
      const std::uint8_t* row = plane + from * width;
      std::fill(out, out + first, Out{});
      std::fill(out + last, out + width, Out{});
      if (shift.flip) {
        for (std::int64_t x = first; x < last; ++x) out[x] = value(row[width - 1 - (x - shift.x)]);
      } else {
        for (std::int64_t x = first; x < last; ++x) out[x] = value(row[x - shift.x]);
      }
    }
  }
}

struct Rectangle {
  std::int64_t top = 0, left = 0, height = 0, width = 0;
};

void erase(const ImageSplit& split, RandomGenerator& generator, float* out) {
  constexpr double kLeastArea = 0.02, kMostArea = 0.33, kMostAspect = 3.3;
  const double area =
      static_cast<double>(split.height * split.width) * (kLeastArea + (kMostArea - kLeastArea) * uniform(generator));
  const double aspect = std::pow(kMostAspect, 2 * uniform(generator) - 1);
  const auto side = [](double length, std::int64_t most) {
    return std::clamp<std::int64_t>(std::llround(length), 1, most);
  };
  Rectangle hole{.height = side(std::sqrt(area * aspect), split.height),
                 .width = side(std::sqrt(area / aspect), split.width)};
  const auto place = [&](std::int64_t room) {
    return static_cast<std::int64_t>(generator() % static_cast<std::uint64_t>(room + 1));
  };
  hole.top = place(split.height - hole.height);
  hole.left = place(split.width - hole.width);
  for (std::int64_t channel = 0; channel < split.channels; ++channel) {
    for (std::int64_t y = hole.top; y < hole.top + hole.height; ++y) {
      float* row = out + (channel * split.height + y) * split.width + hole.left;
      for (std::int64_t x = 0; x < hole.width; ++x) row[x] = unit_values()[generator() & 255U];
    }
  }
}

double beta(double alpha, RandomGenerator& generator) {
  std::gamma_distribution<double> gamma(alpha);
  const double a = gamma(generator), b = gamma(generator);
  return a + b > 0 ? a / (a + b) : 0.5;
}

}  // namespace

void plain_image(const ImageSplit& split, std::int64_t index, float* out) {
  copy_image(split, index, {}, out, [&value = unit_values()](std::uint8_t byte) { return value[byte]; });
}

bool augment(const ImageSplit& split, std::int64_t index, const Augmentation& augmentation, RandomGenerator& generator,
             float* out) {
  Shift shift;
  if (augmentation.flip) shift.flip = (generator() & 1U) != 0;
  if (augmentation.crop_padding > 0) {
    const auto span = static_cast<std::uint64_t>(2 * augmentation.crop_padding + 1);
    shift.x = static_cast<std::int64_t>(generator() % span) - augmentation.crop_padding;
    shift.y = static_cast<std::int64_t>(generator() % span) - augmentation.crop_padding;
  }
  const auto to_unit = [&value = unit_values()](std::uint8_t byte) { return value[byte]; };
  if (augmentation.randaugment_operations > 0) {
    Picture picture{split.channels, split.height, split.width,
                    std::vector<std::uint8_t>(static_cast<std::size_t>(split.image_bytes()))};
    copy_image(split, index, shift, picture.pixels.data(), [](std::uint8_t byte) { return byte; });
    randaugment(picture, augmentation.randaugment_operations, augmentation.randaugment_magnitude, generator);
    std::ranges::transform(picture.pixels, out, to_unit);
  } else {
    copy_image(split, index, shift, out, to_unit);
  }
  if (augmentation.random_erasing > 0 && uniform(generator) < augmentation.random_erasing) erase(split, generator, out);
  return shift.flip;
}

double mix(float* images, std::int64_t count, std::int64_t channels, std::int64_t height, std::int64_t width,
           const Augmentation& augmentation, RandomGenerator& generator) {
  const bool cut = augmentation.cutmix > 0 && (augmentation.mixup == 0 || (generator() & 1U) != 0);
  const double share = beta(cut ? augmentation.cutmix : augmentation.mixup, generator);
  const std::int64_t area = height * width, size = channels * area;
  const std::vector<float> first(images, images + size);  // the last image's partner, before it is mixed itself
  const auto partner = [&](std::int64_t i) { return i + 1 < count ? images + (i + 1) * size : first.data(); };
  if (!cut) {
    const auto own = static_cast<float>(share), other = static_cast<float>(1 - share);
    for (std::int64_t i = 0; i < count; ++i) {
      const float* from = partner(i);
      float* to = images + i * size;
      for (std::int64_t p = 0; p < size; ++p) to[p] = own * to[p] + other * from[p];
    }
    return share;
  }
  // Around a centre drawn anywhere, cut off at the border: the paper's equation 2; the share is that of what is left.
  const auto reach = [&](std::int64_t length) {
    const double half = std::sqrt(1 - share) * static_cast<double>(length) / 2;
    const double centre = uniform(generator) * static_cast<double>(length);
    return std::pair(std::clamp<std::int64_t>(std::llround(centre - half), 0, length),
                     std::clamp<std::int64_t>(std::llround(centre + half), 0, length));
  };
  const auto [top, bottom] = reach(height);
  const auto [left, right] = reach(width);
  for (std::int64_t i = 0; i < count; ++i) {
    const float* from = partner(i);
    float* to = images + i * size;
    for (std::int64_t channel = 0; channel < channels; ++channel) {
      for (std::int64_t y = top; y < bottom; ++y) {
        const std::int64_t row = channel * area + y * width;
        std::copy(from + row + left, from + row + right, to + row + left);
      }
    }
  }
  return 1 - static_cast<double>((bottom - top) * (right - left)) / static_cast<double>(area);
}

}  // namespace finch::trainer
