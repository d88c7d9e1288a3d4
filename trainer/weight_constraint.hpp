// What compression has made true of a module's weights and training must keep: zeros, shared values. Not thread safe.
#pragma once

#include <memory>
#include <vector>

#include "trainer/network_module.hpp"

namespace finch::trainer {

class WeightConstraint {
 public:
  virtual ~WeightConstraint() = default;
  // After the gradients are computed, before the optimizer's step.
  virtual void constrain_gradients() const = 0;
  // After the optimizer's step.
  virtual void constrain_weights() const = 0;
};

// Weights of convolutions and fully connected layers that are exactly zero stay so. Shares memory with `module`.
std::unique_ptr<WeightConstraint> keep_zeros(const NetworkModule& module);

// Weights of one layer that are equal stay equal, zeros stay zero: each of the layer's values learns from the sum of
// its weights' gradients (Han 2016, section 3.2). Shares memory with `module`.
std::unique_ptr<WeightConstraint> keep_shared_values(const NetworkModule& module);

}  // namespace finch::trainer
