// The building blocks that the spaces share: each appends its nodes, named below `name`, and returns the last one. Pure
// functions of the builder.
#pragma once

#include <cstdint>
#include <string>

#include "search/network.hpp"

namespace finch::search {

// Multiples of 4, never below 4 nor more than 10 % below what was asked (MobileNetV2's rule with divisor 8).
std::int64_t round_channels(double channels);

// Convolution with BatchNorm and the activation behind it, "<name>" and "<name>.activation".
std::int32_t convolution(NetworkBuilder& builder, const std::string& name, std::int32_t x, Convolution operation,
                         ActivationKind activation);

// What every block has. The kernel size is odd; padding keeps height and width but for the stride.
struct Block {
  std::int64_t out_channels = 0;
  std::int64_t stride = 1;
  std::int64_t kernel_size = 3;
  ActivationKind activation = ActivationKind::relu;
};

// Sandler 2018 (MobileNetV2): 1x1 to `expanded` channels, depthwise, 1x1 without activation, shortcut where shapes
// agree; with squeeze-and-excitation (Howard 2019, MobileNetV3) before the last 1x1.
std::int32_t inverted_residual(NetworkBuilder& builder, const std::string& name, std::int32_t input, const Block& block,
                               std::int64_t expanded, bool squeeze_excite);

// Howard 2017 (MobileNet): depthwise, then 1x1, each with its activation.
std::int32_t separable(NetworkBuilder& builder, const std::string& name, std::int32_t input, const Block& block);

// He 2016 (ResNet), the basic block: two convolutions and a shortcut, which is a 1x1 convolution where shapes differ.
std::int32_t residual(NetworkBuilder& builder, const std::string& name, std::int32_t input, const Block& block);

enum class ShuffleBranch { shuffle, xception };

// Ma 2018 (ShuffleNetV2): half of the channels pass by, half go through the branch with `mid` inner channels, then both
// halves are shuffled; with a stride or other channels than the input's the whole input goes through the branch and
// through a depthwise and a 1x1 convolution of its own. The xception branch has three depthwise 3x3 and three 1x1
// convolutions (Guo 2020, Single Path One-Shot); it takes no kernel size. REQUIRES: block.out_channels is even.
std::int32_t shuffle_unit(NetworkBuilder& builder, const std::string& name, std::int32_t input, const Block& block,
                          ShuffleBranch branch, std::int64_t mid);

// Global average pooling and the classifier, "pool" and "classifier".
void classify(NetworkBuilder& builder, std::int32_t x, std::int64_t classes);

}  // namespace finch::search
