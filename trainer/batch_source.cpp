#include "trainer/batch_source.hpp"

#include <algorithm>

namespace finch::trainer {
namespace {

// SplitMix64's finalizer (Steele, Lea and Flood 2014): neighbours become unrelated.
std::uint64_t mixed(std::uint64_t seed, std::uint64_t number) {
  std::uint64_t z = seed + 0x9E3779B97F4A7C15U * (number + 1);
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}

constexpr std::uint64_t kOrderSalt = 0x6F72646572;  // an epoch's order and a batch of the same number are unrelated

}  // namespace

BatchSource::BatchSource(const ImageSplit& split, std::int64_t batch_size, Augmentation augmentation,
                         std::uint64_t seed, Loading loading)
    : split_(split),
      batch_size_(std::min(batch_size, split.size())),
      augmentation_(augmentation),
      seed_(seed),
      pinned_(loading.pinned),
      most_ahead_(loading.loaders + 1) {
  for (int i = 0; i < loading.loaders; ++i) loaders_.emplace_back([this](const std::stop_token& stop) { load(stop); });
}

BatchSource::~BatchSource() {
  for (std::jthread& loader : loaders_) loader.request_stop();
  loaders_.clear();
}

BatchSource::Order BatchSource::order_of(std::int64_t epoch) {
  const std::scoped_lock lock(orders_mutex_);
  Order& order = orders_[epoch];
  if (!order) {
    order = std::make_shared<std::vector<std::int64_t>>(
        shuffled_indices(split_.size(), mixed(seed_ ^ kOrderSalt, static_cast<std::uint64_t>(epoch))));
    while (orders_.size() > 3 && orders_.begin()->first < epoch - 1) orders_.erase(orders_.begin());
  }
  return order;
}

Batch BatchSource::make(std::int64_t number) {
  RandomGenerator generator(mixed(seed_, static_cast<std::uint64_t>(number)));
  const auto empty = [&](torch::IntArrayRef shape, torch::ScalarType type) {
    return torch::empty(shape, torch::TensorOptions(type).pinned_memory(pinned_));
  };
  Batch batch{empty({batch_size_, split_.channels, split_.height, split_.width}, torch::kFloat),
              empty({batch_size_}, torch::kLong), torch::empty({batch_size_}, torch::kLong),
              torch::empty({batch_size_}, torch::kLong)};
  float* images = batch.images.data_ptr<float>();
  std::int64_t epoch = number * batch_size_ / split_.size();
  Order order = order_of(epoch);
  for (std::int64_t i = 0; i < batch_size_; ++i) {
    const std::int64_t at = number * batch_size_ + i;
    if (at / split_.size() != epoch) order = order_of(epoch = at / split_.size());
    const std::int64_t index = (*order)[static_cast<std::size_t>(at % split_.size())];
    const bool flipped = augment(split_, index, augmentation_, generator, images + i * split_.image_bytes());
    batch.labels.data_ptr<std::int64_t>()[i] = split_.labels[static_cast<std::size_t>(index)];
    batch.indices.data_ptr<std::int64_t>()[i] = index;
    batch.flipped.data_ptr<std::int64_t>()[i] = flipped ? 1 : 0;
  }
  if (augmentation_.mixes()) {
    batch.share = mix(images, batch_size_, split_.channels, split_.height, split_.width, augmentation_, generator);
  }
  return batch;
}

void BatchSource::load(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (changed_.wait(lock, stop, [&] { return !failure_ && next_made_ <= next_given_ + most_ahead_; })) {
    const std::int64_t number = next_made_++, restored = restored_;
    lock.unlock();
    Batch batch;
    std::exception_ptr failure;
    try {
      batch = make(number);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    if (restored != restored_) continue;
    if (failure) {
      failure_ = failure;
    } else {
      ready_.emplace(number, std::move(batch));
    }
    changed_.notify_all();
  }
}

Batch BatchSource::next() {
  if (loaders_.empty()) return make(next_given_++);
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return failure_ || ready_.contains(next_given_); });
  if (failure_) std::rethrow_exception(failure_);
  Batch batch = std::move(ready_.extract(next_given_).mapped());
  ++next_given_;
  changed_.notify_all();
  return batch;
}

void BatchSource::restore(const std::string& position) {
  const std::scoped_lock lock(mutex_);
  next_given_ = next_made_ = std::stoll(position);
  ++restored_;
  ready_.clear();
  failure_ = {};
  changed_.notify_all();
}

Batch Batch::on(torch::Device device) const {
  Batch there = *this;
  there.images = images.to(device, /*non_blocking=*/true);
  there.labels = labels.to(device, /*non_blocking=*/true);
  return there;
}

Loading loading_for(const Augmentation& augmentation, torch::Device device) {
  const bool costly = augmentation.randaugment_operations > 0 || augmentation.mixes();
  if (!costly && !device.is_cuda()) return {};
  const unsigned most = costly ? 8 : 2;
  const unsigned cores = std::thread::hardware_concurrency();
  return {.loaders = static_cast<int>(std::min(most, cores > 1 ? cores - 1 : 0)), .pinned = device.is_cuda()};
}

torch::Tensor plain_images(const ImageSplit& split, std::int64_t first, std::int64_t count) {
  torch::Tensor images = torch::empty({count, split.channels, split.height, split.width},
                                      torch::TensorOptions().pinned_memory(torch::cuda::is_available()));
  float* out = images.data_ptr<float>();
  at::parallel_for(0, count, 32, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) plain_image(split, first + i, out + i * split.image_bytes());
  });
  return images;
}

}  // namespace finch::trainer
