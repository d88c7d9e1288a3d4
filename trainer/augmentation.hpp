// What training does to its images: pure functions of an image and a random generator. Thread safe.
#pragma once

#include <cstdint>
#include <random>

#include "trainer/dataset.hpp"

namespace finch::trainer {

using RandomGenerator = std::mt19937_64;

// In this order; all off by default.
struct Augmentation {
  bool flip = false;              // mirrors each image left to right with probability 1/2
  std::int64_t crop_padding = 0;  // moves each image by up to so many pixels in both directions; black comes in
  // RandAugment (Cubuk et al. 2020): so many operations an image, each drawn from all of trainer/randaugment.hpp.
  std::int64_t randaugment_operations = 0;
  double randaugment_magnitude = 9;  // of the operations, 0..30
  // Probability of putting noise in the place of one rectangle, 2 to 33 % of the image (Zhong et al. 2020).
  double random_erasing = 0;
  // Of the Beta distribution of a pair's shares; 0: off. With both, each batch draws one of them.
  double mixup = 0;   // images are averaged (Zhang et al. 2018)
  double cutmix = 0;  // a rectangle of one image is put into the other (Yun et al. 2019)

  bool mixes() const { return mixup > 0 || cutmix > 0; }
};

// 0 <= x < 1.
inline double uniform(RandomGenerator& generator) {
  return static_cast<double>(generator() >> 11U) * 0x1p-53;
}

// Image `index` of the split, augmented, all but the mixing: float32 [C, H, W] in [0, 1]. True: it was mirrored.
bool augment(const ImageSplit& split, std::int64_t index, const Augmentation& augmentation, RandomGenerator& generator,
             float* out);

// The image as it is.
void plain_image(const ImageSplit& split, std::int64_t index, float* out);

// Mixes image i with image i + 1, the last one with the first; float32 [count, C, H, W]. Gives each image's own share
// in what it has become, 0..1. REQUIRES: augmentation.mixes().
double mix(float* images, std::int64_t count, std::int64_t channels, std::int64_t height, std::int64_t width,
           const Augmentation& augmentation, RandomGenerator& generator);

}  // namespace finch::trainer
