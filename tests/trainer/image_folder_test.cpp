#include <gmock/gmock.h>
#include <stb_image_write.h>

#include "sample_data.hpp"
#include "temporary_folder.hpp"
#include "trainer/dataset.hpp"

namespace finch::trainer {
namespace {

using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

class ImageFolderTest : public testing::Test {
 protected:
  // One colour, `channels` 1 or 3.
  void write_png(const std::string& name, int width, int height, int channels, std::uint8_t value) const {
    const std::filesystem::path path = folder_.path() / name;
    std::filesystem::create_directories(path.parent_path());
    const std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width * height * channels), value);
    ASSERT_NE(stbi_write_png(path.c_str(), width, height, channels, pixels.data(), 0), 0);
  }
  std::expected<RawDataset, Error> read() const { return read_image_folder(folder_.path(), 1); }

  TemporaryFolder folder_;
};

TEST_F(ImageFolderTest, ReadsTrainAndTestFolders) {
  write_png("train/cat/1.png", 20, 20, 1, 10);
  write_png("train/cat/2.png", 20, 20, 1, 10);
  write_png("train/dog/1.png", 20, 20, 1, 200);
  write_png("val/dog/9.png", 20, 20, 1, 200);
  const auto dataset = read();
  ASSERT_TRUE(dataset) << dataset.error().message;
  EXPECT_THAT(dataset->class_names, ElementsAre("cat", "dog"));
  EXPECT_THAT(dataset->train.labels, ElementsAre(0, 0, 1));
  EXPECT_THAT(dataset->test.labels, ElementsAre(1));
  EXPECT_EQ(dataset->train.channels, 1);
  EXPECT_EQ(dataset->train.height, 20);
  EXPECT_THAT(dataset->test.pixels, Each(200));
}

TEST_F(ImageFolderTest, ResizesToTheMostCommonSize) {
  write_png("train/a/1.png", 24, 24, 3, 50);
  write_png("train/a/2.png", 24, 24, 3, 50);
  write_png("train/b/1.png", 60, 40, 3, 50);
  write_png("train/b/2.png", 12, 12, 1, 50);
  write_png("test/b/1.png", 100, 24, 3, 50);
  const auto dataset = read();
  ASSERT_TRUE(dataset) << dataset.error().message;
  EXPECT_EQ(dataset->train.channels, 3);
  EXPECT_EQ(dataset->train.width, 24);
  EXPECT_EQ(dataset->train.height, 24);
  EXPECT_THAT(dataset->train.pixels, Each(50));
  EXPECT_EQ(std::ssize(dataset->train.pixels), 4 * 3 * 24 * 24);
}

TEST_F(ImageFolderTest, LargeImagesBecomeSquaresOf224) {
  for (const char* name : {"train/a/1.png", "train/b/1.png", "test/a/1.png"}) write_png(name, 400, 300, 3, 9);
  const auto dataset = read();
  ASSERT_TRUE(dataset) << dataset.error().message;
  EXPECT_EQ(dataset->train.width, 224);
  EXPECT_EQ(dataset->train.height, 224);
}

TEST_F(ImageFolderTest, SplitsATestSetOffWhereThereIsNone) {
  for (int i = 0; i < 10; ++i) {
    write_png("a/" + std::to_string(i) + ".png", 16, 16, 1, static_cast<std::uint8_t>(i));
    write_png("b/" + std::to_string(i) + ".png", 16, 16, 1, static_cast<std::uint8_t>(100 + i));
  }
  const auto dataset = read();
  const auto again = read();
  ASSERT_TRUE(dataset && again);
  EXPECT_EQ(dataset->train.size(), 16);
  EXPECT_THAT(dataset->test.labels, ElementsAre(0, 0, 1, 1));
  EXPECT_EQ(dataset->test.pixels, again->test.pixels);
  EXPECT_EQ(dataset->data_hash, again->data_hash);
}

TEST_F(ImageFolderTest, NamesWhatIsWrong) {
  EXPECT_THAT(read().error().message, HasSubstr("0 class folders"));
  write_png("train/a/1.png", 16, 16, 1, 1);
  write_file(folder_.path() / "train/b/readme.txt", "no image");
  write_png("test/c/1.png", 16, 16, 1, 1);
  EXPECT_THAT(read().error().message, HasSubstr("class 'c' has no folder"));
  std::filesystem::remove_all(folder_.path() / "test");
  write_file(folder_.path() / "train/b/broken.jpg", "not a JPEG");
  EXPECT_THAT(read().error().message, HasSubstr("broken.jpg"));
  EXPECT_THAT(read_image_folder(folder_.path() / "absent", 1).error().message, HasSubstr("no such folder"));
}

TEST_F(ImageFolderTest, LeavesUnreadableImagesOutWhereAsked) {
  for (const char* name : {"train/a/1.png", "train/b/1.png", "train/b/2.png", "test/a/1.png"})
    write_png(name, 16, 16, 1, 30);
  const auto whole = read();
  ASSERT_TRUE(whole);
  write_file(folder_.path() / "train/a/0.jpg", "not a JPEG");
  std::filesystem::copy_file(folder_.path() / "train/a/1.png", folder_.path() / "train/b/9.png");
  std::filesystem::resize_file(folder_.path() / "train/b/9.png", 60);  // its head is whole, its pixels are not
  EXPECT_FALSE(read());
  const auto rest = read_image_folder(folder_.path(), 1, CorruptImages::skip);
  ASSERT_TRUE(rest) << rest.error().message;
  EXPECT_THAT(rest->skipped, ElementsAre(HasSubstr("train/a/0.jpg"), HasSubstr("train/b/9.png")));
  EXPECT_EQ(rest->train.pixels, whole->train.pixels);
  EXPECT_EQ(rest->train.labels, whole->train.labels);
  EXPECT_EQ(rest->data_hash, whole->data_hash);

  write_file(folder_.path() / "train/a/1.png", "");
  EXPECT_THAT(read_image_folder(folder_.path(), 1, CorruptImages::skip).error().message,
              HasSubstr("no other image of its class"));
}

TEST_F(ImageFolderTest, ATruncatedJpegIsUnreadableThoughADecoderWouldShowItsTop) {
  std::vector<std::uint8_t> noise(64 * 64);
  for (std::size_t i = 0; i < noise.size(); ++i) noise[i] = static_cast<std::uint8_t>(i * i * 31 >> 4);
  for (const char* name : {"a", "b"}) {
    std::filesystem::create_directories(folder_.path() / "train" / name);
    ASSERT_NE(stbi_write_jpg((folder_.path() / "train" / name / "1.jpg").c_str(), 64, 64, 1, noise.data(), 95), 0);
    std::filesystem::create_directories(folder_.path() / "test" / name);
    std::filesystem::copy_file(folder_.path() / "train" / name / "1.jpg", folder_.path() / "test" / name / "1.jpg");
  }
  ASSERT_TRUE(read()) << read().error().message;
  const auto path = folder_.path() / "train/a/1.jpg";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_THAT(read().error().message, testing::AllOf(HasSubstr("train/a/1.jpg"), HasSubstr("ends too early")));
}

}  // namespace
}  // namespace finch::trainer
