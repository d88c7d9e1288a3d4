#include "trainer/optimizer.hpp"

#include <gtest/gtest.h>

namespace finch::trainer {
namespace {

std::vector<torch::Tensor> parameters(int seed) {
  torch::manual_seed(seed);
  return {torch::randn({3, 2, 3, 3}).requires_grad_(), torch::randn({5}).requires_grad_(),
          torch::randn({4, 2, 1, 1}).contiguous(at::MemoryFormat::ChannelsLast).requires_grad_()};
}

void set_gradients(const std::vector<torch::Tensor>& parameters, int seed) {
  torch::manual_seed(seed);
  for (const torch::Tensor& parameter : parameters)
    torch::Tensor(parameter).mutable_grad() = torch::randn(parameter.sizes());
}

TEST(AdamW, StepsAsLibTorchsOwn) {
  const auto own = parameters(1), reference = parameters(1);
  AdamW optimizer(own, 0.1);
  const auto group = [](std::vector<torch::Tensor> tensors, double decay) {
    return torch::optim::OptimizerParamGroup(
        std::move(tensors),
        std::make_unique<torch::optim::AdamWOptions>(torch::optim::AdamWOptions(0.05).weight_decay(decay)));
  };
  torch::optim::AdamW expected({group({reference[0], reference[2]}, 0.1), group({reference[1]}, 0)});
  for (int step = 0; step < 20; ++step) {
    set_gradients(own, step);
    set_gradients(reference, step);
    optimizer.step(0.05);
    expected.step();
  }
  for (std::size_t i = 0; i < own.size(); ++i) EXPECT_TRUE(torch::allclose(own[i], reference[i], 1e-5, 1e-6)) << i;
}

TEST(AdamW, TakesItsNumbersFromTensorsAndSkipsAStep) {
  const auto own = parameters(1), other = parameters(1);
  AdamW with_tensors(own, 0.1), with_numbers(other, 0.1);
  const torch::Tensor rate = torch::tensor(0.05F);
  set_gradients(own, 1);
  set_gradients(other, 1);
  with_tensors.step(rate, /*skip=*/torch::tensor(0.0F));
  with_numbers.step(0.05);
  for (std::size_t i = 0; i < own.size(); ++i) EXPECT_TRUE(torch::allclose(own[i], other[i], 1e-6, 1e-7)) << i;

  const torch::Tensor before = own[0].detach().clone();
  torch::Tensor(own[0]).mutable_grad().fill_(NAN);
  with_tensors.step(rate, /*skip=*/torch::tensor(1.0F));
  EXPECT_TRUE(torch::equal(own[0], before));
}

TEST(AdamW, LeavesAloneWhatHasNoGradient) {
  const auto own = parameters(1);
  const torch::Tensor before = own[0].detach().clone();
  AdamW optimizer(own, 0.1);
  set_gradients(own, 1);
  torch::Tensor(own[0]).mutable_grad().reset();
  optimizer.step(0.05);
  EXPECT_TRUE(torch::equal(own[0], before));
  const NamedTensors names = {{"a", own[0]}, {"b", own[1]}, {"c", own[2]}};
  EXPECT_FALSE(optimizer.state(names).contains("a.steps"));
  EXPECT_EQ(optimizer.state(names).at("b.steps").item<int>(), 1);
  optimizer.zero_grad();
  const torch::Tensor then = own[1].detach().clone();
  optimizer.step(0.05);
  EXPECT_TRUE(torch::equal(own[1], then));
}

TEST(AdamW, GoesOnFromItsState) {
  const auto own = parameters(1), other = parameters(1);
  const auto names = [](const std::vector<torch::Tensor>& of) {
    return NamedTensors{{"a", of[0]}, {"b", of[1]}, {"c", of[2]}};
  };
  AdamW first(own, 0.1), second(other, 0.1);
  for (int step = 0; step < 5; ++step) {
    set_gradients(own, step);
    first.step(0.05);
  }
  {
    const torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < own.size(); ++i) torch::Tensor(other[i]).copy_(own[i]);
  }
  second.restore(names(other), first.state(names(own)));
  for (const auto* parameters : {&own, &other}) set_gradients(*parameters, 9);
  first.step(0.05);
  second.step(0.05);
  for (std::size_t i = 0; i < own.size(); ++i) EXPECT_TRUE(torch::equal(own[i], other[i])) << i;
}

}  // namespace
}  // namespace finch::trainer
