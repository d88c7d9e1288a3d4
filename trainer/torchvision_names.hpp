// The tensors of torchvision's MobileNetV2, MobileNetV3 and ShuffleNetV2 by what they are for, so that they can be
// found in other networks of the same blocks. Pure functions; thread safe.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace finch::trainer {

using TensorShapes = std::map<std::string, std::vector<std::int64_t>>;  // by name

struct PlacedTensor {
  std::string source;  // its name in the file
  // Where blocks follow each other with the same number of channels, that is a stage; both count from 0. Below 0: not
  // of a block.
  int stage = -1, block = -1;
  // As the blocks of search/blocks.hpp name theirs: "expand", "depthwise", "project", "reduce", "excite",
  // "branch.expand", "shortcut"; outside of blocks "stem", "head", "classifier".
  std::string layer;
  std::string tensor;  // as NetworkModule names them: "weight", "bias", "scale", "shift", "running_mean", "running_var"
};

// Those of a state dict that have a place; none: it is no such network's. BatchNorm may be missing, as in files that
// are exported for use. Of several fully connected layers behind the features none is placed but one that reads them.
std::vector<PlacedTensor> place_torchvision_tensors(const TensorShapes& shapes);

}  // namespace finch::trainer
