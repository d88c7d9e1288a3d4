#include "trainer/dataset.hpp"

#include <algorithm>
#include <cmath>
#include <format>
#include <numeric>
#include <random>

#include "protocol/artifact_store.hpp"
#include "trainer/image_resize.hpp"

namespace finch::trainer {
namespace {

constexpr double kLeastStddev = 1e-3;  // of a channel that is constant
constexpr std::int64_t kGreatestSide = 4096;

std::expected<ImageSplit, Error> resized(ImageSplit split, std::int64_t height, std::int64_t width) {
  if (split.height == height && split.width == width) return split;
  ImageSplit result{split.channels, height, width, {}, std::move(split.labels)};
  const std::int64_t planes = split.channels * result.size();
  result.pixels.resize(static_cast<std::size_t>(planes * height * width));
  for (std::int64_t plane = 0; plane < planes; ++plane) {
    if (!resize_image(split.pixels.data() + plane * split.height * split.width, static_cast<int>(split.width),
                      static_cast<int>(split.height), result.pixels.data() + plane * height * width,
                      static_cast<int>(width), static_cast<int>(height), 1))
      return std::unexpected(Error{std::format("no memory to bring images to {} x {}", height, width)});
  }
  return result;
}

void compute_moments(Dataset& dataset) {
  const ImageSplit& train = dataset.train;
  const std::int64_t area = train.height * train.width;
  for (std::int64_t channel = 0; channel < train.channels; ++channel) {
    std::uint64_t sum = 0, squares = 0;
    for (std::int64_t i = 0; i < train.size(); ++i) {
      const std::uint8_t* plane = train.image(i) + channel * area;
      for (std::int64_t p = 0; p < area; ++p) {
        const std::uint32_t value = plane[p];
        sum += value;
        squares += value * value;
      }
    }
    const double count = static_cast<double>(train.size()) * static_cast<double>(area);
    const double mean = static_cast<double>(sum) / count;
    const double variance = static_cast<double>(squares) / count - mean * mean;
    dataset.mean.push_back(static_cast<float>(mean / 255));
    dataset.stddev.push_back(static_cast<float>(std::max(kLeastStddev, std::sqrt(std::max(0.0, variance)) / 255)));
  }
}

}  // namespace

std::vector<std::int64_t> shuffled_indices(std::int64_t size, std::uint64_t seed) {
  std::vector<std::int64_t> indices(static_cast<std::size_t>(size));
  std::iota(indices.begin(), indices.end(), 0);
  std::mt19937_64 generator(seed);
  for (std::size_t i = indices.size(); i > 1; --i) std::swap(indices[i - 1], indices[generator() % i]);
  return indices;
}

ImageSplit select(const ImageSplit& split, const std::vector<std::int64_t>& indices) {
  ImageSplit result{split.channels, split.height, split.width, {}, {}};
  result.pixels.reserve(indices.size() * static_cast<std::size_t>(split.image_bytes()));
  result.labels.reserve(indices.size());
  for (const std::int64_t index : indices) {
    result.pixels.insert(result.pixels.end(), split.image(index), split.image(index) + split.image_bytes());
    result.labels.push_back(split.labels[static_cast<std::size_t>(index)]);
  }
  return result;
}

std::expected<Dataset, Error> load_dataset(const DataSource& source) {
  const bool own_size = source.height != 0 || source.width != 0;
  if (own_size && (std::min(source.height, source.width) < 1 || std::max(source.height, source.width) > kGreatestSide))
    return std::unexpected(Error{std::format("images cannot be brought to {} x {}: a side has 1 to {} pixels",
                                             source.height, source.width, kGreatestSide)});
  std::expected<RawDataset, Error> raw;
  if (source.format == "idx") {
    raw = read_idx_dataset(source.path);
  } else if (source.format == "folder") {
    raw = read_image_folder(source.path, source.seed, source.corrupt, source.height, source.width);
  } else if (source.format == "cifar10") {
    raw = read_cifar10(source.path);
  } else if (source.format == "cifar100") {
    raw = read_cifar100(source.path);
  } else {
    return std::unexpected(
        Error{std::format("unknown data format '{}'; known: idx, folder, cifar10, cifar100", source.format)});
  }
  if (!raw) return std::unexpected(raw.error());
  if (own_size) {
    for (ImageSplit* const split : {&raw->train, &raw->test}) {
      auto sized = resized(std::move(*split), source.height, source.width);
      if (!sized) return std::unexpected(sized.error());
      *split = std::move(*sized);
    }
  }
  const std::int64_t total = raw->train.size();
  const std::int64_t validation_samples = source.validation_samples == kTwelfth
                                              ? std::clamp<std::int64_t>(total / 12, 10, 10'000)
                                              : source.validation_samples;
  if (validation_samples < 0 || validation_samples >= total) {
    return std::unexpected(
        Error{std::format("{}: {} validation samples cannot be taken from {} training images; ask for fewer",
                          source.path.string(), validation_samples, total)});
  }
  Dataset dataset;
  dataset.test = std::move(raw->test);
  dataset.class_names = std::move(raw->class_names);
  dataset.data_hash = std::move(raw->data_hash);
  dataset.skipped = std::move(raw->skipped);
  std::string split = std::format("{} {} {}", dataset.data_hash, validation_samples, source.seed);
  if (own_size) split += std::format(" {} x {}", source.height, source.width);
  dataset.split_hash = protocol::sha256_hex(split);
  std::vector<std::int64_t> order = shuffled_indices(total, source.seed);
  const auto validation = order.end() - validation_samples;
  dataset.validation = select(raw->train, {validation, order.end()});
  order.erase(validation, order.end());
  dataset.train = select(raw->train, order);
  compute_moments(dataset);
  return dataset;
}

}  // namespace finch::trainer
