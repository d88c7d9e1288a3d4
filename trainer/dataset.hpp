// Images and labels in memory: training, validation and test split of one data set. Plain values; load_dataset() is
// thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <string>
#include <vector>

#include "trainer/error.hpp"

namespace finch::trainer {

// uint8 [N, C, H, W] and one label an image.
struct ImageSplit {
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::vector<std::uint8_t> pixels;
  std::vector<std::int32_t> labels;

  std::int64_t size() const { return std::ssize(labels); }
  std::int64_t image_bytes() const { return channels * height * width; }
  const std::uint8_t* image(std::int64_t index) const { return pixels.data() + index * image_bytes(); }
};

// What becomes of an image file that cannot be read.
enum class CorruptImages { refuse, skip };

inline constexpr std::int64_t kTwelfth = -1;  // of the training images, but 10 to 10,000

struct DataSource {
  std::string format;  // "idx", "folder", "cifar10", "cifar100"
  std::filesystem::path path;
  std::int64_t validation_samples = 0;  // or kTwelfth
  std::uint64_t seed = 1;
  CorruptImages corrupt = CorruptImages::refuse;
  std::int64_t height = 0, width = 0;  // that images are brought to; 0: as the data have them

  bool operator==(const DataSource&) const = default;
};

struct Dataset {
  ImageSplit train, validation, test;
  std::vector<std::string> class_names;
  std::vector<float> mean, stddev;   // per channel, of the training split's pixels in [0, 1]
  std::string data_hash;             // SHA-256 over the contents of the files in use, whatever the split
  std::string split_hash;            // SHA-256 over data hash, validation samples and seed
  std::vector<std::string> skipped;  // why, naming the file; one an image
};

// What a format's reader gives: all training images, unsplit.
struct RawDataset {
  ImageSplit train, test;
  std::vector<std::string> class_names;
  std::string data_hash;
  std::vector<std::string> skipped;
};

// Reads the data, takes the validation split from the end of a seeded shuffle of the training images, and computes mean
// and standard deviation of what is left. Errors: unknown format, what the readers say, a validation split that
// leaves no training images, a size without one of its sides.
std::expected<Dataset, Error> load_dataset(const DataSource& source);

// A shuffle that depends on nothing but the seed (std::shuffle differs between libraries): 0 .. size - 1.
std::vector<std::int64_t> shuffled_indices(std::int64_t size, std::uint64_t seed);

// The images at `indices`, in that order.
ImageSplit select(const ImageSplit& split, const std::vector<std::int64_t>& indices);

// {train,t10k}-{images-idx3,labels-idx1}-ubyte in one folder, plain or .gz.
std::expected<RawDataset, Error> read_idx_dataset(const std::filesystem::path& folder);

// CIFAR's binary files as Krizhevsky 2009 publishes them, in `folder` or in the folder of their archive's name below
// it: 32 x 32 images in colour, of 10 classes or, by the fine labels, of 100. Errors: a file that is missing, not a
// whole number of images, a label beyond the class names.
std::expected<RawDataset, Error> read_cifar10(const std::filesystem::path& folder);
std::expected<RawDataset, Error> read_cifar100(const std::filesystem::path& folder);

// One folder of JPEG or PNG files a class, in the subfolders train and test (or val); or directly, and then a fifth of
// each class, drawn with `seed`, becomes the test split. Images get one size: the most common one when it is square and
// at most 224, else a square as large as its shorter side, at most 224; grey when all are grey.
// Files that cannot be read are an error, or left out and named; a class must keep an image. `height` and `width`: the
// size in the place of that one; 0: none.
std::expected<RawDataset, Error> read_image_folder(const std::filesystem::path& folder, std::uint64_t seed,
                                                   CorruptImages corrupt = CorruptImages::refuse,
                                                   std::int64_t height = 0, std::int64_t width = 0);

}  // namespace finch::trainer
