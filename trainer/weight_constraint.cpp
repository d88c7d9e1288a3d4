#include "trainer/weight_constraint.hpp"

#include <utility>

namespace finch::trainer {
namespace {

class ZeroMask : public WeightConstraint {
 public:
  explicit ZeroMask(const NetworkModule& module) {
    for (const auto& [name, weight] : module.filters()) layers_.push_back({weight, weight.detach().ne(0)});
  }

  void constrain_gradients() const override {
    for (const Layer& layer : layers_) layer.weight.grad().mul_(layer.mask);
  }
  void constrain_weights() const override {
    const torch::NoGradGuard no_grad;
    for (const Layer& layer : layers_) layer.weight.detach().mul_(layer.mask);
  }

 private:
  struct Layer {
    torch::Tensor weight, mask;
  };
  std::vector<Layer> layers_;
};

class SharedValues : public WeightConstraint {
 public:
  explicit SharedValues(const NetworkModule& module) {
    for (const auto& [name, weight] : module.filters()) {
      const auto [values, indices, counts] = torch::_unique2(weight.detach(), /*sorted=*/true, /*return_inverse=*/true,
                                                             /*return_counts=*/true);
      layers_.push_back({weight, indices.flatten(), counts, values.ne(0)});
    }
  }

  // Equal gradients give equal steps, as the moments are equal too.
  void constrain_gradients() const override {
    for (const Layer& layer : layers_) share(layer.weight.grad(), layer, layer.free);
  }
  // The means take out what rounding may have torn apart.
  void constrain_weights() const override {
    const torch::NoGradGuard no_grad;
    for (const Layer& layer : layers_) share(layer.weight.detach(), layer, layer.free / layer.counts);
  }

 private:
  struct Layer {
    torch::Tensor weight;
    torch::Tensor indices;       // int64 [weights], into the layer's values
    torch::Tensor counts, free;  // [values]: weights that share it; not the zero
  };

  // Every element becomes the sum over the elements of its value, times the value's factor.
  static void share(const torch::Tensor& tensor, const Layer& layer, const torch::Tensor& factor) {
    const torch::Tensor sums = torch::zeros({layer.counts.size(0)}, tensor.options().dtype(torch::kDouble))
                                   .index_add_(0, layer.indices, tensor.flatten().to(torch::kDouble));
    tensor.copy_((sums * factor).index_select(0, layer.indices).view(tensor.sizes()));
  }

  std::vector<Layer> layers_;
};

}  // namespace

std::unique_ptr<WeightConstraint> keep_zeros(const NetworkModule& module) {
  return std::make_unique<ZeroMask>(module);
}

std::unique_ptr<WeightConstraint> keep_shared_values(const NetworkModule& module) {
  return std::make_unique<SharedValues>(module);
}

}  // namespace finch::trainer
