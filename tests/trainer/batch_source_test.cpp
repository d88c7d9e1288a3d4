#include "trainer/batch_source.hpp"

#include <gtest/gtest.h>

#include <set>

#include "sample_data.hpp"

namespace finch::trainer {
namespace {

TEST(BatchSource, AnEpochVisitsEveryImageOnce) {
  const ImageSplit split = sample_images(30, 1);
  BatchSource source(split, 10, {}, 5);
  for (int epoch = 0; epoch < 2; ++epoch) {
    std::set<std::int64_t> seen;
    for (int i = 0; i < 3; ++i) {
      const Batch batch = source.next();
      for (std::int64_t k = 0; k < 10; ++k) {
        const auto index = batch.indices[k].item<std::int64_t>();
        seen.insert(index);
        EXPECT_EQ(batch.labels[k].item<std::int64_t>(), split.labels[static_cast<std::size_t>(index)]);
        EXPECT_TRUE(torch::equal(batch.images[k], plain_images(split, index, 1)[0]));
      }
    }
    EXPECT_EQ(seen.size(), 30U);
  }
}

TEST(BatchSource, SameSeedSameBatches) {
  const ImageSplit split = sample_images(30, 1);
  const Augmentation augmentation{.flip = true, .crop_padding = 2};
  BatchSource first(split, 16, augmentation, 5), second(split, 16, augmentation, 5), other(split, 16, augmentation, 6);
  const Batch batch = first.next();
  EXPECT_TRUE(torch::equal(batch.images, second.next().images));
  EXPECT_FALSE(torch::equal(batch.images, other.next().images));
}

TEST(BatchSource, GoesOnFromAPositionInTheMiddleOfAnEpoch) {
  const ImageSplit split = sample_images(30, 1);
  const Augmentation augmentation{.flip = true, .crop_padding = 2};
  BatchSource source(split, 16, augmentation, 5), other(split, 16, augmentation, 5);
  for (int i = 0; i < 3; ++i) (void)source.next();
  other.restore(source.position());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(torch::equal(source.next().images, other.next().images));
}

Augmentation everything() {
  return {.flip = true,
          .crop_padding = 2,
          .randaugment_operations = 2,
          .randaugment_magnitude = 9,
          .random_erasing = 0.5,
          .mixup = 0.4,
          .cutmix = 1};
}

TEST(BatchSource, SameBatchesWhateverTheNumberOfLoaders) {
  const ImageSplit split = sample_images(50, 1);
  BatchSource alone(split, 16, everything(), 5), one(split, 16, everything(), 5, {.loaders = 1}),
      many(split, 16, everything(), 5, {.loaders = 4});
  for (int i = 0; i < 20; ++i) {
    const Batch expected = alone.next();
    for (BatchSource* source : {&one, &many}) {
      const Batch batch = source->next();
      ASSERT_TRUE(torch::equal(batch.images, expected.images)) << i;
      ASSERT_TRUE(torch::equal(batch.labels, expected.labels)) << i;
      ASSERT_TRUE(torch::equal(batch.indices, expected.indices)) << i;
      ASSERT_TRUE(torch::equal(batch.flipped, expected.flipped)) << i;
      ASSERT_EQ(batch.share, expected.share) << i;
    }
  }
}

TEST(BatchSource, LoadersGoBackToAPositionToo) {
  const ImageSplit split = sample_images(50, 1);
  BatchSource source(split, 16, everything(), 5, {.loaders = 3});
  std::vector<torch::Tensor> first;
  for (int i = 0; i < 6; ++i) first.push_back(source.next().images);
  source.restore("2");
  for (std::size_t i = 2; i < 6; ++i) EXPECT_TRUE(torch::equal(source.next().images, first[i])) << i;
  EXPECT_EQ(source.position(), "6");
}

TEST(BatchSource, FlipsAreMirrorImagesAndSaidSo) {
  const ImageSplit split = sample_images(64, 1);
  BatchSource source(split, 64, {.flip = true, .crop_padding = 0}, 5);
  const Batch batch = source.next();
  for (std::int64_t k = 0; k < 64; ++k) {
    torch::Tensor expected = plain_images(split, batch.indices[k].item<std::int64_t>(), 1)[0];
    if (batch.flipped[k].item<std::int64_t>() == 1) expected = expected.flip(2);
    EXPECT_TRUE(torch::equal(batch.images[k], expected));
  }
  const auto flips = batch.flipped.sum().item<std::int64_t>();
  EXPECT_GT(flips, 16);
  EXPECT_LT(flips, 48);
}

TEST(BatchSource, CropsAreWindowsOfThePaddedImage) {
  const ImageSplit split = sample_images(32, 1);
  constexpr std::int64_t kPadding = 3;
  BatchSource source(split, 32, {.flip = true, .crop_padding = kPadding}, 5);
  const Batch batch = source.next();
  for (std::int64_t k = 0; k < 32; ++k) {
    torch::Tensor image = plain_images(split, batch.indices[k].item<std::int64_t>(), 1);
    if (batch.flipped[k].item<std::int64_t>() == 1) image = image.flip(3);
    const torch::Tensor padded = torch::constant_pad_nd(image, {kPadding, kPadding, kPadding, kPadding})[0];
    bool found = false;
    for (std::int64_t y = 0; y <= 2 * kPadding && !found; ++y) {
      for (std::int64_t x = 0; x <= 2 * kPadding && !found; ++x) {
        found = torch::equal(batch.images[k], padded.slice(1, y, y + kSampleSize).slice(2, x, x + kSampleSize));
      }
    }
    EXPECT_TRUE(found) << k;
  }
}

TEST(BatchSource, ABatchIsNeverLargerThanTheSplit) {
  const ImageSplit split = sample_images(7, 1);
  BatchSource source(split, 100, {}, 1);
  EXPECT_EQ(source.next().images.size(0), 7);
}

}  // namespace
}  // namespace finch::trainer
