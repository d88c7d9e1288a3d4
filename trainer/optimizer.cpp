#include "trainer/optimizer.hpp"

namespace finch::trainer {
namespace {

constexpr double kBeta1 = 0.9, kBeta2 = 0.999, kEpsilon = 1e-8;

}  // namespace

AdamW::AdamW(const std::vector<torch::Tensor>& parameters, double weight_decay)
    : groups_{{.weight_decay = weight_decay}, {.weight_decay = 0}} {
  for (const torch::Tensor& parameter : parameters)
    groups_[parameter.dim() > 1 ? 0 : 1].parameters.push_back({.tensor = parameter});
}

void AdamW::zero_grad() {
  for (Group& group : groups_) {
    for (Parameter& parameter : group.parameters) parameter.tensor.mutable_grad().reset();
  }
}

void AdamW::update(const auto& learning_rate, const std::optional<torch::Tensor>& skip) {
  const torch::NoGradGuard no_grad;
  for (Group& group : groups_) {
    std::vector<torch::Tensor> tensors, gradients, first_moments, second_moments, steps;
    for (Parameter& parameter : group.parameters) {
      const torch::Tensor& tensor = parameter.tensor;
      torch::Tensor gradient = tensor.grad();
      if (!gradient.defined()) continue;
      if (!parameter.steps.defined()) {
        parameter.first_moment = torch::zeros_like(tensor);
        parameter.second_moment = torch::zeros_like(tensor);
        parameter.steps = torch::zeros({}, tensor.options().requires_grad(false));
      }
      // The one pass wants every tensor of a parameter to lie in memory alike.
      if (gradient.strides() != tensor.strides()) gradient = torch::empty_like(tensor).copy_(gradient);
      tensors.push_back(tensor);
      gradients.push_back(gradient);
      first_moments.push_back(parameter.first_moment);
      second_moments.push_back(parameter.second_moment);
      steps.push_back(parameter.steps);
    }
    if (tensors.empty()) continue;
    at::_foreach_add_(steps, 1);
    at::_fused_adamw_(tensors, gradients, first_moments, second_moments, /*max_exp_avg_sqs=*/{}, steps, learning_rate,
                      kBeta1, kBeta2, group.weight_decay, kEpsilon, /*amsgrad=*/false, /*maximize=*/false,
                      /*grad_scale=*/{}, skip);
  }
}

void AdamW::step(double learning_rate) {
  update(learning_rate, {});
}

void AdamW::step(const torch::Tensor& learning_rate, const torch::Tensor& skip) {
  update(learning_rate, skip);
}

AdamW::Parameter* AdamW::find(const torch::Tensor& tensor) {
  for (Group& group : groups_) {
    for (Parameter& parameter : group.parameters) {
      if (parameter.tensor.is_same(tensor)) return &parameter;
    }
  }
  return nullptr;
}

NamedTensors AdamW::state(const NamedTensors& names) {
  NamedTensors all;
  for (const auto& [name, tensor] : names) {
    const Parameter* const parameter = find(tensor);
    if (parameter == nullptr || !parameter->steps.defined()) continue;
    all[name + ".first_moment"] = parameter->first_moment;
    all[name + ".second_moment"] = parameter->second_moment;
    all[name + ".steps"] = parameter->steps;
  }
  return all;
}

void AdamW::restore(const NamedTensors& names, const NamedTensors& state) {
  for (const auto& [name, tensor] : names) {
    const auto steps = state.find(name + ".steps");
    Parameter* const parameter = find(tensor);
    if (steps == state.end() || parameter == nullptr) continue;
    const auto copy = [&](const torch::Tensor& from) { return from.to(tensor.device(), torch::kFloat, false, true); };
    parameter->steps = copy(steps->second);
    parameter->first_moment = torch::empty_like(tensor).copy_(state.at(name + ".first_moment")).detach();
    parameter->second_moment = torch::empty_like(tensor).copy_(state.at(name + ".second_moment")).detach();
  }
}

}  // namespace finch::trainer
