// AdamW (Loshchilov and Hutter 2019) as Finch trains with it: all parameters in one pass, on their device, and its
// state as named tensors, so that a training can go on where it stood. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <optional>
#include <vector>

#include "trainer/tensor_file.hpp"

namespace finch::trainer {

class AdamW {
 public:
  // Biases and BatchNorm (tensors of one dimension) do not decay. REQUIRES: float32, all on one device by the first
  // step.
  AdamW(const std::vector<torch::Tensor>& parameters, double weight_decay);

  // To nothing: a parameter without a gradient is left alone by the next step, its moments too.
  void zero_grad();
  void step(double learning_rate);
  // The same for numbers that lie on the parameters' device, float32 []: where `skip` is 1, nothing moves.
  void step(const torch::Tensor& learning_rate, const torch::Tensor& skip);

  // Moments and step counts, named "<parameter>.first_moment", ".second_moment", ".steps"; nothing of a parameter that
  // no step has changed yet. `names`: of the parameters.
  NamedTensors state(const NamedTensors& names);
  // Takes over what state() gave. REQUIRES: of an optimizer of the same parameters.
  void restore(const NamedTensors& names, const NamedTensors& state);

 private:
  struct Parameter {
    torch::Tensor tensor;
    torch::Tensor first_moment = {}, second_moment = {}, steps = {};  // undefined before the first step
  };
  struct Group {
    double weight_decay = 0;
    std::vector<Parameter> parameters = {};
  };
  void update(const auto& learning_rate, const std::optional<torch::Tensor>& skip);
  Parameter* find(const torch::Tensor& tensor);  // null: none of the parameters

  std::vector<Group> groups_;
};

}  // namespace finch::trainer
