// Turns stored images into augmented training batches, reproducibly from a seed. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "trainer/dataset.hpp"

namespace finch::trainer {

struct Augmentation {
  bool flip = false;              // mirrors each image left to right with probability 1/2
  std::int64_t crop_padding = 0;  // moves each image by up to so many pixels in both directions; black comes in
};

struct Batch {
  torch::Tensor images;   // float32 [N, C, H, W] in [0, 1]
  torch::Tensor labels;   // int64 [N]
  torch::Tensor indices;  // int64 [N], into the split
  torch::Tensor flipped;  // int64 [N], 1 where the image was mirrored
};

// Endless: each epoch visits every image once in a new order; batches may span two epochs.
class BatchSource {
 public:
  // `split` must outlive the source. REQUIRES: split.size() > 0.
  BatchSource(const ImageSplit& split, std::int64_t batch_size, Augmentation augmentation, std::uint64_t seed);
  Batch next();

  // Where it stands, and back there: what comes next is the same. REQUIRES: of a source made with the same arguments.
  std::string position() const;
  void restore(const std::string& position);

 private:
  void shuffle(std::uint64_t seed);

  const ImageSplit& split_;
  std::int64_t batch_size_;
  Augmentation augmentation_;
  std::mt19937_64 generator_;
  std::uint64_t order_seed_ = 0;
  std::vector<std::int64_t> order_;
  std::size_t position_ = 0;
};

// Images first .. first + count - 1 as they are: float32 [count, C, H, W] in [0, 1].
torch::Tensor plain_images(const ImageSplit& split, std::int64_t first, std::int64_t count);

}  // namespace finch::trainer
