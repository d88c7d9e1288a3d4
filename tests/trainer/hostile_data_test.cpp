// Every reader of data on files that were damaged at random: an error or a data set, never a crash.
#include <gmock/gmock.h>
#include <stb_image_write.h>

#include <format>
#include <fstream>
#include <random>

#include "sample_data.hpp"
#include "temporary_folder.hpp"
#include "trainer/dataset.hpp"

namespace finch::trainer {
namespace {

std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// Bits turned, bytes lost, doubled or put in, the end cut off.
std::string damaged(std::string bytes, std::mt19937& random) {
  const auto at = [&] { return random() % (bytes.size() + 1); };
  for (auto changes = 1 + random() % 4; changes > 0; --changes) {
    switch (random() % 5) {
      case 0:
        if (!bytes.empty()) bytes[random() % bytes.size()] ^= static_cast<char>(1U << random() % 8);
        break;
      case 1:
        bytes.erase(at(), random() % 16);
        break;
      case 2:
        bytes.insert(at(), bytes.substr(at(), random() % 16));
        break;
      case 3:
        bytes.insert(at(), std::string(1 + random() % 4, static_cast<char>(random())));
        break;
      default:
        if (random() % 4 == 0) bytes.resize(at());
    }
  }
  return bytes;
}

// Damages one file of a good data set after the other; `folder` is whole again afterwards.
void fuzz(const DataSource& source, int rounds, bool expect_refusals = true) {
  ASSERT_TRUE(load_dataset(source)) << load_dataset(source).error().message;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(source.path)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::ranges::sort(files);
  std::mt19937 random(11);
  int refused = 0;
  for (int round = 0; round < rounds; ++round) {
    const auto& file = files[static_cast<std::size_t>(round) % files.size()];
    const std::string whole = read_bytes(file);
    write_file(file, damaged(whole, random));
    const auto dataset = load_dataset(source);
    if (dataset) {
      EXPECT_EQ(std::ssize(dataset->train.pixels), dataset->train.size() * dataset->train.image_bytes());
      EXPECT_EQ(std::ssize(dataset->test.pixels), dataset->test.size() * dataset->test.image_bytes());
      for (const auto label : dataset->train.labels) EXPECT_LT(label, std::ssize(dataset->class_names));
    } else {
      ++refused;
      EXPECT_THAT(dataset.error().message, testing::HasSubstr(source.path.string()));
      EXPECT_THAT(dataset.error().message, testing::Not(testing::HasSubstr("\n")));
    }
    write_file(file, whole);
  }
  if (expect_refusals) {
    EXPECT_GT(refused, rounds / 10);
  }
  EXPECT_LT(refused, rounds);
}

class HostileDataTest : public testing::Test {
 protected:
  void write_images() const {
    std::mt19937 random(3);
    for (int i = 0; i < 12; ++i) {
      std::vector<std::uint8_t> pixels(24 * 24 * 3);
      for (auto& value : pixels) value = static_cast<std::uint8_t>(random());
      for (const char* part : {"train", "test"}) {
        const auto path = folder_.path() / part / (i % 2 == 0 ? "a" : "b");
        std::filesystem::create_directories(path);
        const bool png = i % 4 < 2;
        const std::string name = (path / std::format("{}.{}", i, png ? "png" : "jpg")).string();
        ASSERT_NE(png ? stbi_write_png(name.c_str(), 24, 24, 3, pixels.data(), 0)
                      : stbi_write_jpg(name.c_str(), 24, 24, 3, pixels.data(), 90),
                  0);
      }
    }
  }
  DataSource source(const char* format, CorruptImages corrupt = CorruptImages::refuse) const {
    return {.format = format, .path = folder_.path(), .validation_samples = 2, .corrupt = corrupt};
  }

  TemporaryFolder folder_;
};

TEST_F(HostileDataTest, IdxPlain) {
  write_sample_idx(folder_.path());
  fuzz(source("idx"), 200);
}

TEST_F(HostileDataTest, IdxCompressed) {
  write_sample_idx(folder_.path(), true);
  fuzz(source("idx"), 200);
}

TEST_F(HostileDataTest, Cifar10) {
  write_file(folder_.path() / "batches.meta.txt", "one\ntwo\n");
  for (const char* name :
       {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"})
    write_file(folder_.path() / (std::string(name) + ".bin"),
               '\1' + std::string(3072, 'x') + '\0' + std::string(3072, 'y'));
  fuzz(source("cifar10"), 200);
}

TEST_F(HostileDataTest, Cifar100) {
  write_file(folder_.path() / "fine_label_names.txt", "one\ntwo\n");
  for (const char* name : {"train.bin", "test.bin"}) {
    std::string bytes;
    for (int i = 0; i < 6; ++i) bytes.append({'\0', static_cast<char>(i % 2)}).append(3072, 'x');
    write_file(folder_.path() / name, bytes);
  }
  fuzz(source("cifar100"), 200);
}

TEST_F(HostileDataTest, ImageFolderRefusing) {
  write_images();
  fuzz(source("folder"), 200);
}

TEST_F(HostileDataTest, ImageFolderSkipping) {
  write_images();
  fuzz(source("folder", CorruptImages::skip), 200, false);
}

}  // namespace
}  // namespace finch::trainer
