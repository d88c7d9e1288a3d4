#include "sample_data.hpp"

#include <zlib.h>

#include <fstream>
#include <random>

namespace finch::trainer {

ImageSplit sample_images(std::int64_t count, std::uint64_t seed) {
  ImageSplit split{.channels = 1, .height = kSampleSize, .width = kSampleSize, .pixels = {}, .labels = {}};
  std::mt19937_64 generator(seed);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t label = i % kSampleClasses;
    for (std::int64_t y = 0; y < kSampleSize; ++y) {
      for (std::int64_t x = 0; x < kSampleSize; ++x) {
        const std::uint64_t noise = generator() % 60;
        split.pixels.push_back(static_cast<std::uint8_t>(y / 4 == label ? 255 - noise : noise));
      }
    }
    split.labels.push_back(static_cast<std::int32_t>(label));
  }
  return split;
}

Dataset sample_dataset() {
  Dataset dataset;
  dataset.train = sample_images(160, 1);
  dataset.validation = sample_images(40, 2);
  dataset.test = sample_images(40, 3);
  dataset.class_names = {"top", "upper", "lower", "bottom"};
  dataset.mean = {0.3F};
  dataset.stddev = {0.4F};
  dataset.data_hash = std::string(64, 'a');
  dataset.split_hash = std::string(64, 'b');
  return dataset;
}

std::string idx_bytes(const std::vector<std::uint32_t>& dimensions, const std::vector<std::uint8_t>& bytes) {
  std::string text = {0, 0, 8, static_cast<char>(dimensions.size())};
  for (const std::uint32_t dimension : dimensions) {
    for (int shift = 24; shift >= 0; shift -= 8) text.push_back(static_cast<char>(dimension >> shift & 255));
  }
  return text.append(bytes.begin(), bytes.end());
}

void write_file(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

void write_gzip(const std::filesystem::path& path, const std::string& bytes) {
  const gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size()));
  gzclose(file);
}

void write_sample_idx(const std::filesystem::path& folder, bool compressed) {
  const auto write = [&](const std::string& name, const std::string& bytes) {
    compressed ? write_gzip(folder / (name + ".gz"), bytes) : write_file(folder / name, bytes);
  };
  const auto write_split = [&](const std::string& stem, const ImageSplit& split) {
    const auto count = static_cast<std::uint32_t>(split.size());
    write(stem + "-images-idx3-ubyte", idx_bytes({count, kSampleSize, kSampleSize}, split.pixels));
    write(stem + "-labels-idx1-ubyte", idx_bytes({count}, {split.labels.begin(), split.labels.end()}));
  };
  write_split("train", sample_images(200, 1));
  write_split("t10k", sample_images(40, 2));
}

}  // namespace finch::trainer
