#include <gmock/gmock.h>

#include <format>

#include "sample_data.hpp"
#include "temporary_folder.hpp"
#include "trainer/dataset.hpp"

namespace finch::trainer {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::size_t kImage = 3 * 32 * 32;

// An image of one value, after its label bytes.
std::string record(const std::vector<int>& labels, int value) {
  std::string bytes;
  for (const int label : labels) bytes.push_back(static_cast<char>(label));
  return bytes + std::string(kImage, static_cast<char>(value));
}

class CifarTest : public testing::Test {
 protected:
  void write_cifar10(const std::string& below = "") const {
    const auto folder = folder_.path() / below;
    write_file(folder / "batches.meta.txt", "airplane\nautomobile\nbird\n\n");
    for (int i = 1; i <= 5; ++i) {
      write_file(folder / std::format("data_batch_{}.bin", i), record({i % 3}, i) + record({(i + 1) % 3}, 200 + i));
    }
    write_file(folder / "test_batch.bin", record({2}, 99));
  }
  std::string error_of(const char* format = "cifar10") const {
    const auto dataset = load_dataset({.format = format, .path = folder_.path(), .validation_samples = 2});
    return dataset ? "no error" : dataset.error().message;
  }

  TemporaryFolder folder_;
};

TEST_F(CifarTest, ReadsTheTenClasses) {
  write_cifar10();
  const auto dataset = read_cifar10(folder_.path());
  ASSERT_TRUE(dataset) << dataset.error().message;
  EXPECT_THAT(dataset->class_names, ElementsAre("airplane", "automobile", "bird"));
  EXPECT_THAT(dataset->train.labels, ElementsAre(1, 2, 2, 0, 0, 1, 1, 2, 2, 0));
  EXPECT_THAT(dataset->test.labels, ElementsAre(2));
  EXPECT_EQ(dataset->train.channels, 3);
  EXPECT_EQ(dataset->train.height, 32);
  EXPECT_EQ(dataset->train.width, 32);
  EXPECT_THAT(dataset->test.pixels, Each(99));
  EXPECT_EQ(dataset->train.image(3)[0], 202);
  EXPECT_EQ(error_of(), "no error");
}

TEST_F(CifarTest, FindsTheArchivesFolderBelowTheOneGiven) {
  write_cifar10("cifar-10-batches-bin");
  const auto below = read_cifar10(folder_.path());
  const auto direct = read_cifar10(folder_.path() / "cifar-10-batches-bin");
  ASSERT_TRUE(below && direct);
  EXPECT_EQ(below->data_hash, direct->data_hash);
}

TEST_F(CifarTest, ReadsTheFineLabelsOfTheHundredClasses) {
  write_file(folder_.path() / "fine_label_names.txt", "apple\naquarium_fish\nbaby\n");
  write_file(folder_.path() / "coarse_label_names.txt", "aquatic_mammals\nfish\n");
  write_file(folder_.path() / "train.bin", record({1, 0}, 7) + record({0, 2}, 8) + record({1, 1}, 9));
  write_file(folder_.path() / "test.bin", record({0, 1}, 3));
  const auto dataset = read_cifar100(folder_.path());
  ASSERT_TRUE(dataset) << dataset.error().message;
  EXPECT_THAT(dataset->class_names, ElementsAre("apple", "aquarium_fish", "baby"));
  EXPECT_THAT(dataset->train.labels, ElementsAre(0, 2, 1));
  EXPECT_THAT(dataset->test.pixels, Each(3));
  EXPECT_EQ(error_of("cifar100"), "no error");
}

TEST_F(CifarTest, NamesWhatIsWrong) {
  EXPECT_THAT(error_of(), HasSubstr("batches.meta.txt: holds 0 class names"));
  write_cifar10();
  write_file(folder_.path() / "data_batch_3.bin", record({1}, 1).substr(0, 3000));
  EXPECT_THAT(error_of(), testing::AllOf(HasSubstr("data_batch_3.bin: 3000 bytes"), HasSubstr("fetch it again")));
  write_file(folder_.path() / "data_batch_3.bin", record({1}, 1) + record({3}, 1));
  EXPECT_THAT(error_of(), HasSubstr("data_batch_3.bin: image 1 is of class 3, but there are 3"));
  std::filesystem::remove(folder_.path() / "data_batch_3.bin");
  EXPECT_THAT(error_of(), HasSubstr("data_batch_3.bin: cannot be read"));
  EXPECT_THAT(read_cifar100(folder_.path() / "absent").error().message, HasSubstr("no such folder"));
}

}  // namespace
}  // namespace finch::trainer
