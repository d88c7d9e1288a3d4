// Makes a network hard to quantize without changing what it computes. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <cstdint>

#include "trainer/network_module.hpp"

namespace finch::trainer {

// Makes `channels` channels before each depthwise convolution `factor` times as large and their kernels as much
// smaller. ReLU lets that pass, but a step of 8 bits over the greatest channel is too coarse for the others: trained
// MobileNets are like that (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization and Bias
// Correction", section 3). Returns how many convolutions were changed. REQUIRES: a module in evaluation mode.
inline int skew_channels(NetworkModule& module, float factor, std::int64_t channels = 1) {
  const torch::NoGradGuard no_grad;
  int skewed = 0;
  const auto& nodes = module.network().nodes;
  for (const search::Node& depthwise : nodes) {
    const auto* conv = std::get_if<search::Convolution>(&depthwise.operation);
    if (conv == nullptr || conv->groups == 1) continue;
    const search::Node& activation = nodes[static_cast<std::size_t>(depthwise.inputs[0])];
    const auto* kind = std::get_if<search::Activation>(&activation.operation);
    if (kind == nullptr || kind->kind != search::ActivationKind::relu) continue;
    const search::Node& before = nodes[static_cast<std::size_t>(activation.inputs[0])];
    if (!std::holds_alternative<search::Convolution>(before.operation)) continue;
    const auto first = [&](const std::string& tensor) {
      return module.state().at(tensor).detach().narrow(0, 0, channels);
    };
    first(before.name + ".scale").mul_(factor);
    first(before.name + ".shift").mul_(factor);
    first(depthwise.name + ".weight").div_(factor);
    ++skewed;
  }
  return skewed;
}

}  // namespace finch::trainer
