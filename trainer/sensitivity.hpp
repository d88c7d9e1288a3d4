// How much each layer alone loses by quantization. Not thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <span>
#include <vector>

#include "trainer/error.hpp"
#include "trainer/network_module.hpp"
#include "trainer/range_observer.hpp"

namespace finch::trainer {

struct LayerSensitivity {
  std::int32_t node = 0;
  double divergence = 0;  // KL of the logits' softmax from that in fp32, mean over the images, nats
};

// Every convolution and linear layer with its weights, input and output in 8 bits and all other layers in fp32; the
// most sensitive first. `images`: float32 [N, C, H, W] in [0, 1]. Errors: those of plan_quantization().
std::expected<std::vector<LayerSensitivity>, Error> layer_sensitivities(
    NetworkModule& module, std::span<const ActivationRange> ranges, const torch::Tensor& images,
    const std::function<void(double fraction)>& progress = {});

}  // namespace finch::trainer
