#include "trainer/optimizer.hpp"

namespace finch::trainer {

std::unique_ptr<torch::optim::AdamW> make_optimizer(const std::vector<torch::Tensor>& parameters, double learning_rate,
                                                    double weight_decay) {
  std::vector<torch::Tensor> decayed, others;
  for (const torch::Tensor& parameter : parameters) (parameter.dim() > 1 ? decayed : others).push_back(parameter);
  const auto options = [&](double decay) {
    return std::make_unique<torch::optim::AdamWOptions>(torch::optim::AdamWOptions(learning_rate).weight_decay(decay));
  };
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(decayed, options(weight_decay));
  groups.emplace_back(others, options(0));
  return std::make_unique<torch::optim::AdamW>(std::move(groups));
}

void set_learning_rate(torch::optim::AdamW& optimizer, double learning_rate) {
  for (auto& group : optimizer.param_groups()) group.options().set_lr(learning_rate);
}

NamedTensors optimizer_state(torch::optim::AdamW& optimizer, const NamedTensors& parameters) {
  NamedTensors all;
  for (const auto& [name, parameter] : parameters) {
    const auto found = optimizer.state().find(parameter.unsafeGetTensorImpl());
    if (found == optimizer.state().end()) continue;
    const auto& of_parameter = static_cast<const torch::optim::AdamWParamState&>(*found->second);
    all[name + ".first_moment"] = of_parameter.exp_avg();
    all[name + ".second_moment"] = of_parameter.exp_avg_sq();
    all[name + ".steps"] = torch::tensor(of_parameter.step(), torch::kLong);
  }
  return all;
}

void restore_optimizer(torch::optim::AdamW& optimizer, const NamedTensors& parameters, const NamedTensors& state) {
  for (const auto& [name, parameter] : parameters) {
    const auto steps = state.find(name + ".steps");
    if (steps == state.end()) continue;
    auto of_parameter = std::make_unique<torch::optim::AdamWParamState>();
    of_parameter->step(steps->second.item<std::int64_t>());
    of_parameter->exp_avg(state.at(name + ".first_moment").clone());
    of_parameter->exp_avg_sq(state.at(name + ".second_moment").clone());
    optimizer.state()[parameter.unsafeGetTensorImpl()] = std::move(of_parameter);
  }
}

}  // namespace finch::trainer
