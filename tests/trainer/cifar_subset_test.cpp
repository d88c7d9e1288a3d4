// Real photographs through the image-folder reader: they must be learnt, not only read.
#include <gtest/gtest.h>

#include <cstdlib>

#include "search/search_space.hpp"
#include "temporary_folder.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {
namespace {

namespace fs = std::filesystem;

TEST(CifarSubset, TrainsFromTheImageFolderReader) {
  const char* given = std::getenv("FINCH_TEST_DATA");
  const char* source = std::getenv("FINCH_SOURCE");
  const fs::path data =
      given != nullptr ? fs::path(given) : fs::path(source != nullptr ? source : ".") / "../shared/data";
  const fs::path archive = data / "images/cifar10-subset.tar";
  if (!fs::exists(archive)) GTEST_SKIP() << "there is no " << archive << "; set FINCH_TEST_DATA to the folder with it";
  const TemporaryFolder folder;
  const std::string unpack = "tar -xf '" + archive.string() + "' -C '" + folder.path().string() + "'";
  ASSERT_EQ(std::system(unpack.c_str()), 0);
  fs::path root = folder.path();
  while (!fs::is_directory(root / "train") && !fs::is_empty(root)) root = fs::directory_iterator(root)->path();

  const auto dataset = load_dataset({.format = "folder", .path = root, .validation_samples = 1000});
  ASSERT_TRUE(dataset) << dataset.error().message;
  ASSERT_EQ(dataset->class_names.size(), 10U);
  EXPECT_EQ(dataset->train.size(), 9000);
  EXPECT_EQ(dataset->test.size(), 2000);
  EXPECT_EQ(dataset->train.channels, 3);
  EXPECT_EQ(dataset->train.height, 32);

  const auto space = *search::make_search_space({"mobilenet", {3, 32, 32}, 10});
  torch::manual_seed(1);
  NetworkModule student(space->decode(space->smallest()).value(), dataset->mean, dataset->stddev);
  Training training(student, dataset->train, {},
                    {.epochs = 1, .batch_size = 64, .learning_rate = 0.01, .loss = {}, .augmentation = {.flip = true}});
  ASSERT_TRUE(run(training, [](double) {}));
  student.eval();
  const double accuracy =
      top1([&](const torch::Tensor& images) { return student.forward(images); }, dataset->validation);
  EXPECT_GT(accuracy, 0.25) << "chance is 0.1";
}

}  // namespace
}  // namespace finch::trainer
