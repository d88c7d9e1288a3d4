// RandAugment's operations on images of bytes: the 14 of Cubuk et al. 2020, with the ranges of their code. Thread safe.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "trainer/augmentation.hpp"

namespace finch::trainer {

// [channels, height, width].
struct Picture {
  std::int64_t channels = 0, height = 0, width = 0;
  std::vector<std::uint8_t> pixels;
};

// At the greatest magnitude; what grows has a random sign, and what is moved in from outside is black.
enum class PictureOperation {
  identity,
  auto_contrast,  // each channel's values are stretched to 0..255; no magnitude
  equalize,       // each channel's histogram is made flat; no magnitude
  shear_x,        // by 0.3 of the height, about the centre
  shear_y,
  translate_x,  // by 0.45 of the width
  translate_y,
  rotate,      // by 30 degrees
  brightness,  // times 1 +- 0.9
  color,       // distance from its grey, times 1 +- 0.9; grey images stay
  contrast,    // distance from the mean grey, times 1 +- 0.9
  sharpness,   // distance from its smoothed self, times 1 +- 0.9
  posterize,   // 4 bits a value are left
  solarize,    // all values are inverted; below, those above a threshold
};
constexpr std::array kPictureOperations = {
    PictureOperation::identity,    PictureOperation::auto_contrast, PictureOperation::equalize,
    PictureOperation::shear_x,     PictureOperation::shear_y,       PictureOperation::translate_x,
    PictureOperation::translate_y, PictureOperation::rotate,        PictureOperation::brightness,
    PictureOperation::color,       PictureOperation::contrast,      PictureOperation::sharpness,
    PictureOperation::posterize,   PictureOperation::solarize};

constexpr double kGreatestMagnitude = 30;

// `strength`: -1..1, share of the greatest magnitude; operations without direction take its absolute value.
void apply(PictureOperation operation, double strength, Picture& picture);

// `count` operations, drawn independently; `magnitude`: 0..kGreatestMagnitude.
void randaugment(Picture& picture, std::int64_t count, double magnitude, RandomGenerator& generator);

}  // namespace finch::trainer
