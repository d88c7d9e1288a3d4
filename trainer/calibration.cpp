#include "trainer/calibration.hpp"

#include <algorithm>
#include <numeric>
#include <random>

#include "trainer/batch_source.hpp"

namespace finch::trainer {
namespace {

constexpr std::int64_t kBatch = 32;

}  // namespace

torch::Tensor draw_images(const ImageSplit& split, std::int64_t count, std::uint64_t seed) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(split.size())), drawn;
  std::iota(all.begin(), all.end(), 0);
  std::mt19937_64 generator(seed);
  std::ranges::sample(all, std::back_inserter(drawn), count, generator);
  std::vector<torch::Tensor> images;
  for (const std::int64_t index : drawn) images.push_back(plain_images(split, index, 1));
  return torch::cat(images);
}

std::vector<ActivationRange> calibrate(NetworkModule& module, const ImageSplit& split,
                                       const CalibrationOptions& options,
                                       const std::function<void(double fraction)>& progress) {
  const torch::NoGradGuard no_grad;
  module.eval();
  RangeObserver observer(module.network().nodes.size());
  const torch::Tensor images = draw_images(split, options.images, options.seed);
  for (std::int64_t first = 0; first < images.size(0); first += kBatch) {
    module.forward(images.slice(0, first, first + kBatch), [&](std::int32_t node, const torch::Tensor& output) {
      const torch::Tensor values = output.cpu().contiguous();
      observer.observe(node, {values.data_ptr<float>(), static_cast<std::size_t>(values.numel())});
    });
    if (progress) progress(static_cast<double>(first) / static_cast<double>(images.size(0)));
  }
  return observer.ranges(options.method);
}

}  // namespace finch::trainer
