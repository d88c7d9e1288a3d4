// A search::Network as a trainable LibTorch module, float32, on the processor or a GPU. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "search/network.hpp"
#include "trainer/network_weights.hpp"
#include "trainer/tensor_file.hpp"

namespace finch::trainer {

// From LibTorch's global generator: He et al. 2015 for convolutions, BatchNorm as the identity.
torch::Tensor fresh_weight(const search::Node& node, const std::string& tensor, torch::IntArrayRef shape);

class NetworkModule : public torch::nn::Module {
 public:
  // Sees every node's output as it is computed; in evaluation mode this is what the exported file computes too.
  using Observer = std::function<void(std::int32_t node, const torch::Tensor& output)>;

  // The first value of a node's tensor: "weight", "bias", "scale", "shift", "running_mean" or "running_var".
  using WeightSource =
      std::function<torch::Tensor(const search::Node& node, const std::string& tensor, torch::IntArrayRef shape)>;

  // Every tensor is asked for once, in the order of the nodes. REQUIRES: mean and stddev hold one value an input
  // channel.
  NetworkModule(search::Network network, std::vector<float> mean, std::vector<float> stddev,
                const WeightSource& weights = fresh_weight);

  const search::Network& network() const { return network_; }
  const std::vector<float>& mean() const { return mean_; }
  const std::vector<float>& stddev() const { return stddev_; }

  // Weights and statistics, there and back; on the processor at first. The tensors of state() move along.
  void move_to(torch::Device device);
  torch::Device device() const { return mean_tensor_.device(); }

  // float32 [N, C, H, W] in [0, 1], from any device -> float32 logits [N, classes] on the module's own. A training
  // pass on a GPU multiplies in bfloat16. Errors of LibTorch are thrown as c10::Error.
  torch::Tensor forward(const torch::Tensor& images, const Observer& observer = {});

  // What a layer multiplies with; a bias that is undefined: none.
  struct Filter {
    torch::Tensor weight, bias;
  };
  // Of a convolution or linear layer as it is deployed: BatchNorm folded with its running statistics. Differentiable.
  Filter deployed_filter(std::size_t node) const;
  // One node alone; `filter`: of a convolution or linear layer.
  torch::Tensor compute(std::size_t node, const std::vector<torch::Tensor>& inputs, const Filter& filter = {}) const;

  // Another way through the network in the place of forward's own, as for fake quantization; with it no observer is
  // called. Empty: its own again.
  using Forward = std::function<torch::Tensor(const torch::Tensor& images)>;
  void replace_forward(Forward forward) { replaced_forward_ = std::move(forward); }
  bool forward_is_replaced() const { return static_cast<bool>(replaced_forward_); }

  // How much of BatchNorm's running statistics a batch replaces in training mode, 0..1; 0.1 unless set.
  void set_momentum(double momentum) { momentum_ = momentum; }

  // Parameters and BatchNorm statistics, named "<node>.<tensor>" ("stage1.block0.expand.weight"); shares memory with
  // the module.
  const NamedTensors& state() const { return state_; }
  // Of these the weights of convolutions and fully connected layers, without biases and BatchNorm.
  NamedTensors filters() const;
  // Copies what agrees in name and shape; gives the number of tensors copied. The rest keeps its values.
  std::int64_t inherit(const NamedTensors& other);

  // The weights as deployed: BatchNorm's running statistics folded into the convolutions.
  NetworkWeights fold() const;

 private:
  struct Layer {
    torch::Tensor weight, bias;                             // bias undefined: none
    torch::Tensor scale, shift, running_mean, running_var;  // BatchNorm; undefined: none
  };
  // Convolution and BatchNorm as one, with the running statistics. REQUIRES: the layer has BatchNorm.
  static Filter folded_filter(const Layer& layer, torch::ScalarType type = torch::kFloat);
  void make_layer(const search::Node& node, Layer& layer, const WeightSource& weights);
  torch::Tensor apply(std::size_t node, const std::vector<torch::Tensor>& outputs, const torch::Tensor& images) const;

  search::Network network_;
  std::vector<float> mean_, stddev_;
  torch::Tensor mean_tensor_, inverse_stddev_;  // [1, C, 1, 1]
  std::vector<Layer> layers_;                   // by node
  std::vector<std::size_t> last_use_;           // by node: the last node that reads its output
  std::vector<bool> in_place_;                  // by node: may overwrite its input
  NamedTensors state_;
  double momentum_ = 0.1;
  Forward replaced_forward_;
};

// A module of its own with the same network and values.
std::unique_ptr<NetworkModule> copy_of(const NetworkModule& module);
// BatchNorm's running statistics folded into convolutions with a bias: what is deployed, trainable. In evaluation mode
// it computes the same.
std::unique_ptr<NetworkModule> fold_batch_norm(const NetworkModule& module);

}  // namespace finch::trainer
