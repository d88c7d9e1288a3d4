// One set of weights that all networks of a space share: slices of every tensor, so that a candidate's accuracy costs
// no training. Knows nothing of a space but its networks. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <expected>
#include <filesystem>
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
