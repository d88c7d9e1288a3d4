#include "trainer/augmentation.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "sample_data.hpp"
#include "trainer/randaugment.hpp"

namespace finch::trainer {
namespace {

using testing::Each;
using testing::ElementsAre;

Picture picture_of(std::int64_t channels, std::int64_t height, std::int64_t width, std::uint64_t seed = 1) {
  Picture picture{channels, height, width, {}};
  RandomGenerator generator(seed);
  for (std::int64_t i = 0; i < channels * height * width; ++i)
    picture.pixels.push_back(static_cast<std::uint8_t>(generator() & 255U));
  return picture;
}

std::vector<std::uint8_t> applied(PictureOperation operation, double strength, Picture picture) {
  apply(operation, strength, picture);
  return picture.pixels;
}

TEST(RandAugment, WithoutStrengthNothingChanges) {
  for (const std::int64_t channels : {1, 3}) {
    const Picture picture = picture_of(channels, 9, 12);
    for (const PictureOperation operation : kPictureOperations) {
      if (operation == PictureOperation::auto_contrast || operation == PictureOperation::equalize) continue;
      EXPECT_EQ(applied(operation, 0, picture), picture.pixels) << static_cast<int>(operation);
    }
  }
}

TEST(RandAugment, EveryOperationKeepsTheSizeAndMostChangeSomething) {
  for (const std::int64_t channels : {1, 3}) {
    for (const PictureOperation operation : kPictureOperations) {
      for (const double strength : {-1.0, 1.0}) {
        const Picture picture = picture_of(channels, 32, 32);  // equalize leaves too few values alone, as PIL does
        const auto after = applied(operation, strength, picture);
        EXPECT_EQ(after.size(), picture.pixels.size());
        const bool stays = operation == PictureOperation::identity ||
                           operation == PictureOperation::auto_contrast ||  // noise fills the range already
                           (operation == PictureOperation::color && channels == 1);
        EXPECT_TRUE(stays || after != picture.pixels) << static_cast<int>(operation);
      }
    }
  }
}

TEST(RandAugment, DoesWhatItsNamesSay) {
  const Picture row{1, 1, 4, {10, 20, 30, 40}};
  EXPECT_THAT(applied(PictureOperation::auto_contrast, 0, row), ElementsAre(0, 85, 170, 255));
  EXPECT_THAT(applied(PictureOperation::brightness, -1, row), ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(applied(PictureOperation::solarize, 1, row), ElementsAre(245, 235, 225, 215));
  EXPECT_THAT(applied(PictureOperation::posterize, 1, row), ElementsAre(0, 16, 16, 32));
  EXPECT_THAT(applied(PictureOperation::contrast, -1, row), ElementsAre(24, 25, 26, 27));  // around 25, a tenth of it
  // 0.45 of 4 pixels, rounded, to the left.
  EXPECT_THAT(applied(PictureOperation::translate_x, 1, row), ElementsAre(30, 40, 0, 0));
  EXPECT_THAT(applied(PictureOperation::translate_x, -1, row), ElementsAre(0, 0, 10, 20));

  Picture colors{3, 1, 1, {200, 100, 50}};
  apply(PictureOperation::color, -1, colors);
  EXPECT_LT(colors.pixels[0] - colors.pixels[2], 20);

  Picture few{1, 32, 32, std::vector<std::uint8_t>(1024)};
  for (std::size_t i = 0; i < 1024; ++i) few.pixels[i] = static_cast<std::uint8_t>(100 + i / 64);  // 16 levels
  apply(PictureOperation::equalize, 0, few);
  EXPECT_LT(few.pixels.front(), 40);
  EXPECT_GT(few.pixels.back(), 215);

  Picture dot{1, 5, 5, std::vector<std::uint8_t>(25)};
  dot.pixels[12] = 130;
  apply(PictureOperation::sharpness, -1, dot);
  EXPECT_EQ(dot.pixels[12], 58);  // its smoothed value is 50
  EXPECT_EQ(dot.pixels[11], 9);   // 10 there
}

TEST(RandAugment, RotatesAboutTheCentre) {
  Picture cross{1, 21, 21, std::vector<std::uint8_t>(441)};
  for (std::size_t i = 0; i < 21; ++i) cross.pixels[10 * 21 + i] = 255;
  apply(PictureOperation::rotate, 1, cross);
  EXPECT_EQ(cross.pixels[10 * 21 + 10], 255);
  const auto at = [&](std::size_t y, std::size_t x) { return cross.pixels[y * 21 + x]; };
  EXPECT_EQ(at(10, 18), 0);
  EXPECT_TRUE(at(6, 17) == 255 || at(14, 17) == 255);  // tan 30 degrees of seven to the side: four
}

TEST(Augmentation, OffIsTheImageItself) {
  const ImageSplit split = sample_images(3, 1);
  std::vector<float> plain(256), augmented(256);
  RandomGenerator generator(1);
  plain_image(split, 2, plain.data());
  EXPECT_FALSE(augment(split, 2, {}, generator, augmented.data()));
  EXPECT_EQ(plain, augmented);
  EXPECT_FLOAT_EQ(plain[40], static_cast<float>(split.image(2)[40]) / 255.0F);
}

TEST(Augmentation, ErasesOneRectangle) {
  ImageSplit split{.channels = 1, .height = 32, .width = 32, .pixels = std::vector<std::uint8_t>(1024), .labels = {0}};
  RandomGenerator generator(4);
  for (int round = 0; round < 50; ++round) {
    std::vector<float> image(1024);
    augment(split, 0, {.random_erasing = 1}, generator, image.data());
    std::int64_t top = 32, bottom = -1, left = 32, right = -1, changed = 0;
    for (std::int64_t i = 0; i < 1024; ++i) {
      if (image[static_cast<std::size_t>(i)] == 0) continue;
      ++changed;
      top = std::min(top, i / 32), bottom = std::max(bottom, i / 32);
      left = std::min(left, i % 32), right = std::max(right, i % 32);
    }
    ASSERT_GT(changed, 0);
    const auto area = (bottom - top + 1) * (right - left + 1);
    EXPECT_GE(changed, area * 9 / 10);  // one in 256 values is black by chance
    EXPECT_LE(area, 1024 * 4 / 10);
  }
}

TEST(Augmentation, MixupAveragesNeighbours) {
  std::vector<float> images = {1, 1, 0, 0, 0.5F, 0.5F};  // three images of [1, 1, 2]
  RandomGenerator generator(2);
  const double share = mix(images.data(), 3, 1, 1, 2, {.mixup = 1}, generator);
  EXPECT_GT(share, 0);
  EXPECT_LT(share, 1);
  EXPECT_FLOAT_EQ(images[0], static_cast<float>(share));
  EXPECT_FLOAT_EQ(images[2], static_cast<float>((1 - share) * 0.5));
  EXPECT_FLOAT_EQ(images[4], static_cast<float>(share * 0.5 + (1 - share)));
}

TEST(Augmentation, CutmixPastesARectangleAndItsAreaIsTheShare) {
  RandomGenerator generator(3);
  double sum = 0;
  for (int round = 0; round < 200; ++round) {
    std::vector<float> images(2 * 3 * 8 * 8);
    std::fill(images.begin() + 192, images.end(), 1.0F);
    const double share = mix(images.data(), 2, 3, 8, 8, {.cutmix = 1}, generator);
    double ones = 0;
    for (std::size_t i = 0; i < 192; ++i) ones += images[i];
    EXPECT_NEAR(ones / 192, 1 - share, 1e-6);
    EXPECT_THAT(images, Each(testing::AnyOf(0.0F, 1.0F)));
    sum += share;
  }
  EXPECT_NEAR(sum / 200, 0.6, 0.15);  // a half, and what the border cuts off
}

}  // namespace
}  // namespace finch::trainer
