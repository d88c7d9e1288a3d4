// AdamW as Finch trains with it, and its state as named tensors, so that a training can go on where it stood. Pure
// functions of their arguments; not thread safe on one optimizer.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "trainer/tensor_file.hpp"

namespace finch::trainer {

// Loshchilov and Hutter 2019; biases and BatchNorm (tensors of one dimension) do not decay.
std::unique_ptr<torch::optim::AdamW> make_optimizer(const std::vector<torch::Tensor>& parameters, double learning_rate,
                                                    double weight_decay);

void set_learning_rate(torch::optim::AdamW& optimizer, double learning_rate);

// Moments and step counts, named "<parameter>.first_moment", ".second_moment", ".steps"; nothing of a parameter that no
// step has changed yet.
NamedTensors optimizer_state(torch::optim::AdamW& optimizer, const NamedTensors& parameters);
// Takes over what optimizer_state() gave. REQUIRES: of an optimizer of the same parameters.
void restore_optimizer(torch::optim::AdamW& optimizer, const NamedTensors& parameters, const NamedTensors& state);

}  // namespace finch::trainer
