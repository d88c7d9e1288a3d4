// A loss's gradient against central differences of it.
#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>

namespace finch::trainer {

// `loss` of float64 `x`; every element is moved.
inline void expect_gradient(const torch::Tensor& x, const std::function<torch::Tensor(const torch::Tensor&)>& loss,
                            double tolerance = 1e-7) {
  const torch::Tensor variable = x.clone().requires_grad_();
  loss(variable).backward();
  const torch::Tensor gradient = variable.grad().flatten();
  constexpr double kStep = 1e-5;
  const torch::NoGradGuard no_grad;
  for (std::int64_t i = 0; i < x.numel(); ++i) {
    const auto loss_at = [&](double shift) {
      torch::Tensor moved = x.clone();
      moved.flatten()[i] += shift;
      return loss(moved).item<double>();
    };
    const double expected = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
    EXPECT_NEAR(gradient[i].item<double>(), expected, tolerance) << "element " << i;
  }
}

}  // namespace finch::trainer
