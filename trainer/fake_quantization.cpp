#include "trainer/fake_quantization.hpp"

#include <vector>

namespace finch::trainer {
namespace {

constexpr int kGreatestWeight = 127;
constexpr double kGreatestBias = 1 << 30;  // as quantize_layer()

// Rounded, with the gradient of what was rounded.
torch::Tensor round_straight_through(const torch::Tensor& x) {
  return x + (torch::round(x) - x).detach();
}

}  // namespace

torch::Tensor fake_quantize(const torch::Tensor& x, const Saturation& saturation) {
  const auto& [written, read] = saturation;
  const torch::Tensor rounded = torch::fake_quantize_per_tensor_affine(x, written.scale, written.zero_point, 0, 255);
  if (written.scale == read.scale && written.zero_point == read.zero_point) return rounded;
  const double factor = static_cast<double>(read.scale) / static_cast<double>(written.scale);
  return rounded * factor + static_cast<double>(read.scale) * (written.zero_point - read.zero_point);
}

NetworkModule::Filter fake_quantize(const NetworkModule::Filter& filter, float input_scale) {
  const torch::Tensor weight = filter.weight.contiguous();
  const torch::Tensor bias =
      filter.bias.defined() ? filter.bias : torch::zeros({weight.size(0)}, weight.options().requires_grad(false));
  torch::Tensor scale;
  {
    const torch::NoGradGuard no_grad;
    const torch::Tensor by_bias = bias.abs() / (static_cast<double>(input_scale) * kGreatestBias);
    scale = torch::maximum(weight.flatten(1).abs().amax(1) / kGreatestWeight, by_bias).clamp_min(1e-12);
  }
  const torch::Tensor zero_point = torch::zeros({weight.size(0)}, scale.options().dtype(torch::kInt));
  const torch::Tensor bias_scale = scale * static_cast<double>(input_scale);
  return {.weight = torch::fake_quantize_per_channel_affine(weight, scale, zero_point, /*axis=*/0, -kGreatestWeight,
                                                            kGreatestWeight),
          .bias = round_straight_through(bias / bias_scale) * bias_scale};
}

// One forward pass: what each node has given, as floats and rounded.
struct FakeQuantization::Pass {
  const NetworkModule& module;
  const QuantizationPlan& plan;
  std::vector<torch::Tensor> as_floats, as_integers;  // by node; undefined: not there

  std::size_t input(std::size_t i) const { return static_cast<std::size_t>(node(i).inputs[0]); }
  const search::Node& node(std::size_t i) const { return module.network().nodes[i]; }

  const torch::Tensor& rounded(std::size_t i) {
    if (!as_integers[i].defined()) as_integers[i] = fake_quantize(as_floats[i], plan.nodes[i].integers);
    return as_integers[i];
  }

  void finish(std::size_t i, const torch::Tensor& result) { as_floats[plan.nodes[i].takes_over.value_or(i)] = result; }

  std::vector<torch::Tensor> inputs(std::size_t i) {
    std::vector<torch::Tensor> inputs;
    for (const std::int32_t from : node(i).inputs) {
      const auto at = static_cast<std::size_t>(from);
      const bool floats = plan.nodes[i].floating && plan.nodes[at].floating;
      inputs.push_back(floats ? as_floats[at] : rounded(at));
    }
    return inputs;
  }

  void layer(std::size_t i) {
    NetworkModule::Filter filter = module.deployed_filter(i);
    const std::vector<torch::Tensor> from = inputs(i);
    if (!plan.nodes[i].floating) filter = fake_quantize(filter, plan.nodes[input(i)].integers.read.scale);
    finish(i, module.compute(i, from, filter));
  }

  void integer_activation(std::size_t i, search::ActivationKind kind) {
    const torch::Tensor& x = rounded(input(i));
    switch (kind) {
      case search::ActivationKind::relu:
      case search::ActivationKind::relu6:
      case search::ActivationKind::hard_sigmoid:  // by saturating
        return finish(i, x);
      case search::ActivationKind::sigmoid:
        return finish(i, torch::sigmoid(x));
      case search::ActivationKind::silu:
        return finish(i, x * fake_quantize(torch::sigmoid(x), {kUnit, kUnit}));
      case search::ActivationKind::hard_swish:
        if (plan.nodes[i].clipped_gate) return finish(i, x * torch::hardsigmoid(x));
        return finish(i, x * fake_quantize(x, *saturation(search::ActivationKind::hard_sigmoid, {})));
    }
  }

  void compute(std::size_t i) {
    const PlannedNode& planned = plan.nodes[i];
    if (planned.taken_over) return;
    if (is_layer(node(i))) return layer(i);
    const auto* activation = std::get_if<search::Activation>(&node(i).operation);
    if (activation != nullptr && !planned.floating) return integer_activation(i, activation->kind);
    finish(i, module.compute(i, inputs(i)));
  }
};

torch::Tensor FakeQuantization::forward(const torch::Tensor& images) const {
  const std::size_t count = plan_.nodes.size();
  Pass pass{module_, plan_, std::vector<torch::Tensor>(count), std::vector<torch::Tensor>(count)};
  pass.finish(0, images.to(module_.device()));
  for (std::size_t i = 1; i < count; ++i) pass.compute(i);
  const bool linear = std::holds_alternative<search::Linear>(module_.network().nodes.back().operation);
  // A linear layer's logits are floats.
  return linear || plan_.nodes.back().floating ? pass.as_floats.back() : pass.rounded(count - 1);
}

}  // namespace finch::trainer
