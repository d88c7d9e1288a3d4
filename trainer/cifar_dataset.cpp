#include <algorithm>
#include <array>
#include <format>
#include <fstream>
#include <iterator>
#include <span>

#include "protocol/artifact_store.hpp"
#include "trainer/dataset.hpp"

namespace finch::trainer {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kSize = 32, kChannels = 3;
constexpr std::size_t kImageBytes = kChannels * kSize * kSize;

// One of the two archives. A record is its label bytes, the one that counts last, and then an image [3, 32, 32].
struct Layout {
  const char* archive;
  std::vector<std::string> train, test;
  const char* names;
  std::size_t label_bytes;
};

std::expected<std::string, Error> read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open() || file.bad()) {
    return std::unexpected(Error{path.string() + ": cannot be read; it comes with the archive's binary version"});
  }
  return bytes;
}

std::expected<std::vector<std::string>, Error> read_names(const fs::path& path) {
  std::ifstream file(path);
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  if (names.size() < 2 || names.size() > 256) {
    return std::unexpected(Error{std::format("{}: holds {} class names; one a line, 2 to 256 of them, are needed",
                                             path.string(), names.size())});
  }
  return names;
}

// Appends the images of one file to `split`, and their hash to `hashes`.
std::expected<void, Error> read_batch(const fs::path& path, std::size_t label_bytes, std::size_t classes,
                                      ImageSplit& split, std::string& hashes) {
  const auto bytes = read_file(path);
  if (!bytes) return std::unexpected(bytes.error());
  const std::size_t record = label_bytes + kImageBytes;
  if (bytes->empty() || bytes->size() % record != 0) {
    return std::unexpected(
        Error{std::format("{}: {} bytes are no whole number of images of {} bytes; it is incomplete or another file, "
                          "fetch it again",
                          path.string(), bytes->size(), record)});
  }
  for (std::size_t at = 0; at < bytes->size(); at += record) {
    const auto label = static_cast<std::uint8_t>((*bytes)[at + label_bytes - 1]);
    if (label >= classes) {
      return std::unexpected(Error{std::format("{}: image {} is of class {}, but there are {} class names",
                                               path.string(), at / record, label, classes)});
    }
    split.labels.push_back(label);
    const auto image = bytes->begin() + static_cast<std::ptrdiff_t>(at + label_bytes);
    split.pixels.insert(split.pixels.end(), image, image + kImageBytes);
  }
  hashes += protocol::sha256_hex(*bytes) + '\n';
  return {};
}

std::expected<RawDataset, Error> read_cifar(const fs::path& given, const Layout& layout) {
  std::error_code ignored;
  const fs::path folder = fs::is_directory(given / layout.archive, ignored) ? given / layout.archive : given;
  if (!fs::is_directory(folder, ignored)) {
    return std::unexpected(
        Error{std::format("{}: no such folder; it should hold what {} holds", folder.string(), layout.archive)});
  }
  auto names = read_names(folder / layout.names);
  if (!names) return std::unexpected(names.error());
  RawDataset dataset;
  dataset.class_names = std::move(*names);
  std::string hashes;
  const auto read_split = [&](const std::vector<std::string>& files, ImageSplit& split) -> std::expected<void, Error> {
    split = {.channels = kChannels, .height = kSize, .width = kSize, .pixels = {}, .labels = {}};
    for (const std::string& file : files) {
      auto read = read_batch(folder / file, layout.label_bytes, dataset.class_names.size(), split, hashes);
      if (!read) return read;
    }
    return {};
  };
  if (auto read = read_split(layout.train, dataset.train); !read) return std::unexpected(read.error());
  if (auto read = read_split(layout.test, dataset.test); !read) return std::unexpected(read.error());
  dataset.data_hash = protocol::sha256_hex(hashes);
  return dataset;
}

}  // namespace

std::expected<RawDataset, Error> read_cifar10(const fs::path& folder) {
  Layout layout{.archive = "cifar-10-batches-bin",
                .train = {},
                .test = {"test_batch.bin"},
                .names = "batches.meta.txt",
                .label_bytes = 1};
  for (int i = 1; i <= 5; ++i) layout.train.push_back(std::format("data_batch_{}.bin", i));
  return read_cifar(folder, layout);
}

std::expected<RawDataset, Error> read_cifar100(const fs::path& folder) {
  return read_cifar(folder, {.archive = "cifar-100-binary",
                             .train = {"train.bin"},
                             .test = {"test.bin"},
                             .names = "fine_label_names.txt",
                             .label_bytes = 2});
}

}  // namespace finch::trainer
