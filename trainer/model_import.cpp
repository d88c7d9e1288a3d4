#include "trainer/model_import.hpp"

#include <algorithm>
#include <map>
#include <utility>

#include "trainer/batch_source.hpp"

namespace finch::trainer {
namespace {

constexpr std::int64_t kBatch = 50;
constexpr double kBatchNormEpsilon = 1e-5;

bool lacks_batch_norm(const search::Node& node) {
  const auto* convolution = std::get_if<search::Convolution>(&node.operation);
  // Of a single pixel there are no statistics but the batch's.
  return convolution != nullptr && !convolution->batch_norm && node.shape.height * node.shape.width > 1;
}

struct ChannelSums {
  torch::Tensor sum, squares;  // float64 [C]
  std::int64_t count = 0;
};

std::map<std::int32_t, ChannelSums> observe(NetworkModule& module, const ImageSplit& split, std::int64_t images) {
  std::map<std::int32_t, ChannelSums> sums;
  const std::int64_t count = std::min(images, split.size());
  for (std::int64_t first = 0; first < count; first += kBatch) {
    module.forward(plain_images(split, first, std::min(kBatch, count - first)),
                   [&](std::int32_t node, const torch::Tensor& output) {
                     if (!lacks_batch_norm(module.network().nodes[static_cast<std::size_t>(node)])) return;
                     const torch::Tensor values = output.to(torch::kDouble);
                     const torch::Tensor sum = values.sum({0, 2, 3}), squares = values.square().sum({0, 2, 3});
                     ChannelSums& known = sums[node];
                     known.sum = known.count == 0 ? sum : known.sum + sum;
                     known.squares = known.count == 0 ? squares : known.squares + squares;
                     known.count += values.numel() / values.size(1);
                   });
  }
  return sums;
}

}  // namespace

std::unique_ptr<NetworkModule> module_of(ImportedNetwork imported) {
  auto module = std::make_unique<NetworkModule>(
      std::move(imported.network), imported.normalization.mean, imported.normalization.stddev,
      [&](const search::Node& node, const std::string& tensor, torch::IntArrayRef shape) {
        return torch::tensor(imported.tensors.at(node.name + "." + tensor)).view(shape);
      });
  module->eval();
  return module;
}

std::unique_ptr<NetworkModule> with_batch_norm(std::unique_ptr<NetworkModule> module, const ImageSplit& split,
                                               std::int64_t images) {
  const torch::NoGradGuard no_grad;
  if (std::ranges::none_of(module->network().nodes, lacks_batch_norm)) return module;
  module->eval();
  const auto sums = observe(*module, split, images);
  search::Network network = module->network();
  NamedTensors tensors = module->state();
  for (const auto& [index, seen] : sums) {
    search::Node& node = network.nodes[static_cast<std::size_t>(index)];
    auto& convolution = std::get<search::Convolution>(node.operation);
    const torch::Tensor mean = seen.sum / seen.count;
    const torch::Tensor variance = (seen.squares / seen.count - mean.square()).clamp_min(0);
    // The convolution's own bias would be taken away again by the batch's mean.
    torch::Tensor centre = mean;
    if (convolution.bias) centre = mean - tensors.at(node.name + ".bias").to(torch::kDouble);
    convolution.bias = false;
    convolution.batch_norm = true;
    const auto keep = [&](const char* name, const torch::Tensor& values) {
      tensors[node.name + "." + name] = values.to(torch::kFloat);
    };
    keep("running_mean", centre);
    keep("running_var", variance);
    keep("scale", (variance + kBatchNormEpsilon).sqrt());
    keep("shift", mean);
  }
  auto trainable =
      std::make_unique<NetworkModule>(std::move(network), module->mean(), module->stddev(),
                                      [&](const search::Node& node, const std::string& tensor, torch::IntArrayRef) {
                                        return tensors.at(node.name + "." + tensor).detach().clone();
                                      });
  trainable->eval();
  return trainable;
}

}  // namespace finch::trainer
