// A module's forward pass with the rounding of its int8 file, on floats: for quantization-aware training (Jacob 2018,
// section 3; Krishnamoorthi 2018, section 3.2) and to know a file's accuracy without writing it. Gradients pass
// rounding as if it were not there, and end where a value is clipped (straight-through estimator, Bengio 2013). Not
// thread safe.
#pragma once

#include <torch/torch.h>

#include "trainer/network_module.hpp"
#include "trainer/quantization_plan.hpp"

namespace finch::trainer {

// Rounds to the integers 0..255 that `written` gives and reads them as `read`.
torch::Tensor fake_quantize(const torch::Tensor& x, const Saturation& saturation);

// Weights [out, ...] as int8, symmetric with one scale an output channel, which follows the greatest weight; biases
// [out] as int32 in input_scale * the weight's scale: what quantize_layer() does.
NetworkModule::Filter fake_quantize(const NetworkModule::Filter& filter, float input_scale);

class FakeQuantization {
 public:
  // `module` must outlive this. BatchNorm is folded with its running statistics, also in training. REQUIRES: the plan
  // was made of the module's network.
  FakeQuantization(const NetworkModule& module, QuantizationPlan plan) : module_(module), plan_(std::move(plan)) {}

  // float32 [N, C, H, W] in [0, 1] -> logits [N, classes], those of the int8 file but for rounding of floats.
  torch::Tensor forward(const torch::Tensor& images) const;

 private:
  struct Pass;
  const NetworkModule& module_;
  QuantizationPlan plan_;
};

}  // namespace finch::trainer
