// A description that uses every type of block and every kind of choice. Pure function.
#pragma once

#include "search/custom_space_config.hpp"

namespace finch::search {

inline CustomSpaceConfig sample_custom_space() {
  return {.resolution = {20, 28},
          .width_multiplier = {0.5, 1},
          .activation = {ActivationKind::relu, ActivationKind::hard_swish},
          .stem_channels = 8,
          .stem_kernel_size = 3,
          .stem_stride = 2,
          .stages = {{.blocks = {BlockType::separable, BlockType::convolution, BlockType::residual},
                      .depth = {1, 2},
                      .channels = {16, 24},
                      .kernel_size = {3, 5}},
                     {.blocks = {BlockType::shuffle, BlockType::xception, BlockType::inverted_residual},
                      .depth = {1, 3},
                      .channels = {32},
                      .stride = 2,
                      .kernel_size = {3, 7},
                      .expand_ratio = {1.5, 3},
                      .channel_ratio = {0.5, 1},
                      .squeeze_excite = {false, true}}},
          .head_channels = 64};
}

}  // namespace finch::search
