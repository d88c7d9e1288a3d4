// Turns stored images into augmented training batches, reproducibly from a seed, ahead of time where it may. For one
// thread at a time.
#pragma once

#include <torch/torch.h>

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "trainer/augmentation.hpp"
#include "trainer/dataset.hpp"

namespace finch::trainer {

struct Batch {
  torch::Tensor images;   // float32 [N, C, H, W] in [0, 1]
  torch::Tensor labels;   // int64 [N]
  torch::Tensor indices;  // int64 [N], into the split
  torch::Tensor flipped;  // int64 [N], 1 where the image was mirrored
  double share = 1;  // of image i in what the batch holds at i; the rest is image i + 1's, the last one's the first's

  // Images and labels there; what is looked up by index stays where the lookup is.
  Batch on(torch::Device device) const;
};

// Who makes the batches, and where.
struct Loading {
  int loaders = 0;  // threads that make the next batches while this one is learnt from; 0: each when it is asked for
  bool pinned = false;  // in memory that a GPU reads by itself
};
// The machine's other cores where an image costs more than a copy, or where a GPU would wait for it.
Loading loading_for(const Augmentation& augmentation, torch::Device device);

// Endless: each epoch visits every image once in a new order; batches may span two epochs. A batch depends on the seed
// and its number alone, so the loaders may make several at once.
class BatchSource {
 public:
  // `split` must outlive the source. REQUIRES: split.size() > 0.
  BatchSource(const ImageSplit& split, std::int64_t batch_size, Augmentation augmentation, std::uint64_t seed,
              Loading loading = {});
  ~BatchSource();
  BatchSource(const BatchSource&) = delete;
  BatchSource& operator=(const BatchSource&) = delete;

  Batch next();

  // Where it stands, and back there: what comes next is the same. REQUIRES: of a source made with the same arguments,
  // but for the loading.
  std::string position() const { return std::to_string(next_given_); }
  void restore(const std::string& position);

 private:
  using Order = std::shared_ptr<const std::vector<std::int64_t>>;
  Batch make(std::int64_t number);
  Order order_of(std::int64_t epoch);
  void load(const std::stop_token& stop);

  const ImageSplit& split_;
  const std::int64_t batch_size_;
  const Augmentation augmentation_;
  const std::uint64_t seed_;
  const bool pinned_;
  const std::int64_t most_ahead_;
  std::int64_t next_given_ = 0;  // written by the owner's thread alone, under mutex_

  std::mutex orders_mutex_;
  std::map<std::int64_t, Order> orders_;  // by epoch, the latest

  std::mutex mutex_;  // guards what follows
  std::condition_variable_any changed_;
  std::int64_t next_made_ = 0;
  std::int64_t restored_ = 0;  // how often; a batch that was begun before is dropped
  std::map<std::int64_t, Batch> ready_;
  std::exception_ptr failure_;
  std::vector<std::jthread> loaders_;
};

// Images first .. first + count - 1 as they are: float32 [count, C, H, W] in [0, 1].
torch::Tensor plain_images(const ImageSplit& split, std::int64_t first, std::int64_t count);

}  // namespace finch::trainer
