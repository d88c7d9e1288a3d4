#include "trainer/dataset.hpp"

#include <gmock/gmock.h>

#include <algorithm>

#include "sample_data.hpp"
#include "temporary_folder.hpp"

namespace finch::trainer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class IdxDatasetTest : public testing::Test {
 protected:
  DataSource source(std::int64_t validation, std::uint64_t seed = 1) const {
    return {.format = "idx", .path = folder_.path(), .validation_samples = validation, .seed = seed};
  }
  std::string error_of(const DataSource& source) const {
    const auto dataset = load_dataset(source);
    return dataset ? "no error" : dataset.error().message;
  }
  TemporaryFolder folder_;
};

TEST_F(IdxDatasetTest, SplitsReproducibly) {
  write_sample_idx(folder_.path());
  const auto first = load_dataset(source(50));
  const auto again = load_dataset(source(50));
  const auto other = load_dataset(source(50, 2));
  ASSERT_TRUE(first && again && other);
  EXPECT_EQ(first->train.size(), 150);
  EXPECT_EQ(first->validation.size(), 50);
  EXPECT_EQ(first->test.size(), 40);
  EXPECT_EQ(first->train.pixels, again->train.pixels);
  EXPECT_EQ(first->validation.labels, again->validation.labels);
  EXPECT_EQ(first->split_hash, again->split_hash);
  EXPECT_NE(first->validation.pixels, other->validation.pixels);
  EXPECT_NE(first->split_hash, other->split_hash);
  EXPECT_EQ(first->data_hash, other->data_hash);
  EXPECT_THAT(first->class_names, ElementsAre("0", "1", "2", "3"));
}

TEST_F(IdxDatasetTest, SetsATwelfthAside) {
  write_sample_idx(folder_.path());
  const auto dataset = load_dataset(source(kTwelfth)), same = load_dataset(source(16));
  ASSERT_TRUE(dataset && same);
  EXPECT_EQ(dataset->validation.size(), 16);  // of 200
  EXPECT_EQ(dataset->split_hash, same->split_hash);
}

TEST_F(IdxDatasetTest, ImagesAreBroughtToTheSizeThatIsAskedFor) {
  write_sample_idx(folder_.path());
  DataSource sized = source(50);
  sized.height = 32;
  sized.width = 48;
  const auto plain = load_dataset(source(50)), larger = load_dataset(sized);
  ASSERT_TRUE(plain && larger);
  for (const ImageSplit* split : {&larger->train, &larger->validation, &larger->test}) {
    EXPECT_EQ(split->height, 32);
    EXPECT_EQ(split->width, 48);
    EXPECT_EQ(std::ssize(split->pixels), split->size() * 32 * 48);
  }
  EXPECT_EQ(larger->train.labels, plain->train.labels);
  EXPECT_NEAR(larger->mean[0], plain->mean[0], 0.01);
  EXPECT_EQ(larger->data_hash, plain->data_hash);
  EXPECT_NE(larger->split_hash, plain->split_hash);  // a teacher's answers to the one are none to the other
  sized.width = 0;
  EXPECT_THAT(error_of(sized), HasSubstr("32 x 0"));
}

TEST_F(IdxDatasetTest, LosesAndDoublesNoImage) {
  write_sample_idx(folder_.path());
  const auto dataset = load_dataset(source(50));
  ASSERT_TRUE(dataset);
  const ImageSplit original = sample_images(200, 1);
  std::vector<std::vector<std::uint8_t>> expected, found;
  const auto collect = [](const ImageSplit& split, auto& into) {
    for (std::int64_t i = 0; i < split.size(); ++i)
      into.emplace_back(split.image(i), split.image(i) + split.image_bytes());
  };
  collect(original, expected);
  collect(dataset->train, found);
  collect(dataset->validation, found);
  std::ranges::sort(expected);
  std::ranges::sort(found);
  EXPECT_EQ(expected, found);
}

TEST_F(IdxDatasetTest, CompressedFilesAreTheSameData) {
  write_sample_idx(folder_.path());
  const TemporaryFolder packed;
  write_sample_idx(packed.path(), true);
  const auto plain = load_dataset(source(10));
  const auto unpacked = load_dataset({.format = "idx", .path = packed.path(), .validation_samples = 10, .seed = 1});
  ASSERT_TRUE(plain && unpacked);
  EXPECT_EQ(plain->data_hash, unpacked->data_hash);
  EXPECT_EQ(plain->train.pixels, unpacked->train.pixels);
}

TEST_F(IdxDatasetTest, MeanAndDeviationAreThoseOfTheTrainingSplit) {
  write_file(folder_.path() / "train-images-idx3-ubyte", idx_bytes({2, 1, 2}, {0, 255, 0, 255}));
  write_file(folder_.path() / "train-labels-idx1-ubyte", idx_bytes({2}, {0, 1}));
  write_file(folder_.path() / "t10k-images-idx3-ubyte", idx_bytes({1, 1, 2}, {7, 7}));
  write_file(folder_.path() / "t10k-labels-idx1-ubyte", idx_bytes({1}, {1}));
  const auto dataset = load_dataset(source(0));
  ASSERT_TRUE(dataset);
  EXPECT_FLOAT_EQ(dataset->mean[0], 0.5F);
  EXPECT_FLOAT_EQ(dataset->stddev[0], 0.5F);
}

TEST_F(IdxDatasetTest, NamesWhatIsMissingOrDoesNotFit) {
  EXPECT_THAT(error_of({.format = "idx", .path = folder_.path() / "absent"}), HasSubstr("no such folder"));
  EXPECT_THAT(error_of(source(0)), HasSubstr("train-images-idx3-ubyte: not there"));
  EXPECT_THAT(error_of({.format = "tar", .path = folder_.path()}), HasSubstr("known: idx, folder, cifar10, cifar100"));
  write_sample_idx(folder_.path());
  EXPECT_THAT(error_of(source(200)), HasSubstr("ask for fewer"));
  write_file(folder_.path() / "train-labels-idx1-ubyte", idx_bytes({3}, {0, 1, 2}));
  EXPECT_THAT(error_of(source(0)), HasSubstr("holds 3 labels, but"));
  write_sample_idx(folder_.path());
  write_file(folder_.path() / "t10k-labels-idx1-ubyte", idx_bytes({40}, std::vector<std::uint8_t>(40, 9)));
  EXPECT_THAT(error_of(source(0)), HasSubstr("name class 9"));
}

TEST(ShuffledIndices, AreAPermutationThatDependsOnTheSeedAlone) {
  const auto order = shuffled_indices(100, 7);
  EXPECT_EQ(order, shuffled_indices(100, 7));
  EXPECT_NE(order, shuffled_indices(100, 8));
  auto sorted = order;
  std::ranges::sort(sorted);
  for (std::int64_t i = 0; i < 100; ++i) EXPECT_EQ(sorted[static_cast<std::size_t>(i)], i);
}

}  // namespace
}  // namespace finch::trainer
