// One set of weights that all networks of a space share: slices of every tensor, so that a candidate's accuracy costs
// no training. Knows nothing of a space but its networks. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <expected>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "search/search_space.hpp"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/network_module.hpp"
#include "trainer/tensor_file.hpp"

namespace finch::trainer {

// What the networks of a space have of one tensor that they share.
struct SharedTensor {
  search::Node node;  // of one of them
  std::string tensor;
  std::vector<std::int64_t> smallest, largest;  // shape, each extent for itself
};
// By the name that it is shared under, without BatchNorm's running statistics.
std::map<std::string, SharedTensor> shared_tensors(const search::SearchSpace& space);
// "stem.weight"; a depthwise kernel's ends with its size, "stage1.block0.depthwise.weight5".
std::string shared_name(const search::Node& node, const std::string& tensor);

// A network's tensor is the slice of the shared tensor of its name that begins with the first channels, as in slimmable
// networks (Yu et al. 2019); depthwise kernels have one shared tensor a size. A node name therefore stands for a layer
// that exists once in every network that has it, at most as large as somewhere in the space.
class Supernet {
 public:
  // Fresh weights for all networks of the space, from LibTorch's global generator. REQUIRES: mean and stddev hold one
  // value an input channel.
  Supernet(const search::SearchSpace& space, std::vector<float> mean, std::vector<float> stddev);
  // What serialize() wrote. Errors: not such a file, or a damaged one.
  static std::expected<Supernet, Error> load(const std::filesystem::path& path);
  std::string serialize() const;

  // An ordinary network with weights of its own, copied from the shared ones; BatchNorm's running statistics are fresh.
  struct Subnet {
    std::unique_ptr<NetworkModule> module;
    std::vector<std::pair<std::string, torch::Tensor>> shares;  // shared tensor's name, the module's copy of its slice
  };
  // Error: a network that is none of the space's (names the tensor).
  std::expected<Subnet, Error> subnet(search::Network network) const;
  // Adds the gradients that a backward pass left in the subnet to those of the shared tensors.
  void add_gradients(const Subnet& subnet);

  // From here on networks of different resolutions have depthwise kernels and BatchNorm of their own, which begin as
  // what they shared: what is a good edge at one scale is none at another (after Wang et al. 2020, "Resolution
  // Switchable Networks for Runtime Efficient Image Recognition"). Returns the new tensors' names and what each was
  // part of; what is split already stays as it is.
  std::map<std::string, std::string> split_by_resolution(const search::SearchSpace& space);

  // The shared tensors move; what subnet() gives comes from there.
  void move_to(torch::Device device);

  // The shared tensors, by name; each requires a gradient.
  const NamedTensors& weights() const { return weights_; }

 private:
  Supernet() = default;

  std::vector<float> mean_, stddev_;
  NamedTensors weights_;
};

// Replaces BatchNorm's running statistics by the means over `images` images from the beginning of the split, which a
// slice of shared weights needs before it is evaluated (Yu and Huang 2019, "post-statistics of Batch Normalization").
// Leaves the module in evaluation mode.
void recalibrate(NetworkModule& module, const ImageSplit& split, std::int64_t images);

}  // namespace finch::trainer
