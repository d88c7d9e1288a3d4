#include "trainer/batch_source.hpp"

#include <algorithm>
#include <array>
#include <sstream>

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

// One pass from bytes to floats; `out` is zero where the shift brings nothing in.
void copy_image(const ImageSplit& split, std::int64_t index, const Shift& shift, float* out) {
  const auto& value = unit_values();
  const std::int64_t width = split.width;
  const std::int64_t first = std::max<std::int64_t>(0, shift.x);
  const std::int64_t last = std::min(width, width + shift.x);
  for (std::int64_t channel = 0; channel < split.channels; ++channel) {
    const std::uint8_t* plane = split.image(index) + channel * split.height * width;
    for (std::int64_t y = 0; y < split.height; ++y, out += width) {
      const std::int64_t from = y - shift.y;
      if (from < 0 || from >= split.height || first >= last) {
        std::fill_n(out, width, 0.0F);
        continue;
      }
      const std::uint8_t* row = plane + from * width;
      std::fill(out, out + first, 0.0F);
      std::fill(out + last, out + width, 0.0F);
      if (shift.flip) {
        for (std::int64_t x = first; x < last; ++x) out[x] = value[row[width - 1 - (x - shift.x)]];
      } else {
        for (std::int64_t x = first; x < last; ++x) out[x] = value[row[x - shift.x]];
      }
    }
  }
}

}  // namespace

BatchSource::BatchSource(const ImageSplit& split, std::int64_t batch_size, Augmentation augmentation,
                         std::uint64_t seed)
    : split_(split), batch_size_(std::min(batch_size, split.size())), augmentation_(augmentation), generator_(seed) {
  shuffle(generator_());
}

void BatchSource::shuffle(std::uint64_t seed) {
  order_seed_ = seed;
  order_ = shuffled_indices(split_.size(), seed);
  position_ = 0;
}

std::string BatchSource::position() const {
  std::ostringstream text;
  text << generator_ << ' ' << order_seed_ << ' ' << position_;
  return text.str();
}

void BatchSource::restore(const std::string& position) {
  std::istringstream text(position);
  std::uint64_t seed = 0;
  std::size_t at = 0;
  text >> generator_ >> seed >> at;
  shuffle(seed);
  position_ = at;
}

Batch BatchSource::next() {
  Batch batch{torch::empty({batch_size_, split_.channels, split_.height, split_.width}),
              torch::empty({batch_size_}, torch::kLong), torch::empty({batch_size_}, torch::kLong),
              torch::empty({batch_size_}, torch::kLong)};
  float* images = batch.images.data_ptr<float>();
  const auto draw_shift = [&] {
    const auto span = static_cast<std::uint64_t>(2 * augmentation_.crop_padding + 1);
    return static_cast<std::int64_t>(generator_() % span) - augmentation_.crop_padding;
  };
  for (std::int64_t i = 0; i < batch_size_; ++i) {
    if (position_ == order_.size()) shuffle(generator_());
    const std::int64_t index = order_[position_++];
    Shift shift;
    if (augmentation_.flip) shift.flip = (generator_() & 1) != 0;
    if (augmentation_.crop_padding > 0) {
      shift.x = draw_shift();
      shift.y = draw_shift();
    }
    copy_image(split_, index, shift, images + i * split_.image_bytes());
    batch.labels.data_ptr<std::int64_t>()[i] = split_.labels[static_cast<std::size_t>(index)];
    batch.indices.data_ptr<std::int64_t>()[i] = index;
    batch.flipped.data_ptr<std::int64_t>()[i] = shift.flip ? 1 : 0;
  }
  return batch;
}

torch::Tensor plain_images(const ImageSplit& split, std::int64_t first, std::int64_t count) {
  torch::Tensor images = torch::empty({count, split.channels, split.height, split.width});
  float* out = images.data_ptr<float>();
  at::parallel_for(0, count, 32, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) copy_image(split, first + i, {}, out + i * split.image_bytes());
  });
  return images;
}

}  // namespace finch::trainer
