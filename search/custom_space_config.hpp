// A space of the user's own, described: stages of blocks with their choices. A plain value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "search/error.hpp"
#include "search/network.hpp"

namespace finch::search {

// See search/blocks.hpp.
enum class BlockType { convolution, separable, residual, inverted_residual, shuffle, xception };

// Where a list has one value there is nothing to decide. Every list rises.
struct CustomStage {
  std::vector<BlockType> blocks;                // each block of the stage chooses its own, from cheap to costly
  std::vector<std::int64_t> depth = {1};        // number of blocks
  std::vector<std::int64_t> channels;           // of the stage's output, at width 1
  std::int64_t stride = 1;                      // of the first block
  std::vector<std::int64_t> kernel_size = {3};  // each block its own; odd
  std::vector<double> expand_ratio = {4};       // of inverted_residual: inner channels to the input's
  std::vector<double> channel_ratio = {1};      // of shuffle and xception: inner channels to half of the output's
  std::vector<bool> squeeze_excite = {false};   // of inverted_residual, for the whole stage
};

struct CustomSpaceConfig {
  std::vector<std::int64_t> resolution = {};   // empty: the image as it is
  std::vector<double> width_multiplier = {1};  // of all channels
  std::vector<ActivationKind> activation = {ActivationKind::relu};
  std::int64_t stem_channels = 16;
  std::int64_t stem_kernel_size = 3;
  std::int64_t stem_stride = 2;
  std::vector<CustomStage> stages;
  std::int64_t head_channels = 128;  // of a 1x1 convolution before the pooling; 0: none
};

// What is wrong, and where a file would say it.
struct SpaceProblem {
  std::optional<std::size_t> stage;  // none: the space as a whole
  std::string table;                 // "space", "stem", "head", "stage"
  std::string key;
  std::string what;
};

// Nothing: a space can be made of it.
std::vector<SpaceProblem> problems_of(const CustomSpaceConfig& config);

// "inverted_residual": how block types are written in files and on the wire.
const char* to_string(BlockType type);
std::vector<std::string> block_type_names();
std::expected<BlockType, Error> parse_block_type(std::string_view name);
std::vector<std::string> activation_names();
std::expected<ActivationKind, Error> parse_activation(std::string_view name);

}  // namespace finch::search
