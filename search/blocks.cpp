#include "search/blocks.hpp"

#include <algorithm>
#include <format>

namespace finch::search {
namespace {

Convolution depthwise(std::int64_t channels, const Block& block) {
  return {.out_channels = channels,
          .kernel_size = block.kernel_size,
          .stride = block.stride,
          .padding = block.kernel_size / 2,
          .groups = channels};
}

Convolution square(const Block& block) {
  return {.out_channels = block.out_channels,
          .kernel_size = block.kernel_size,
          .stride = block.stride,
          .padding = block.kernel_size / 2};
}

std::int32_t shuffle_branch(NetworkBuilder& builder, const std::string& name, std::int32_t x, const Block& block,
                            std::int64_t mid) {
  x = convolution(builder, name + ".expand", x, {.out_channels = mid}, block.activation);
  x = builder.add(name + ".depthwise", depthwise(mid, block), {x});
  return convolution(builder, name + ".project", x, {.out_channels = block.out_channels}, block.activation);
}

std::int32_t xception_branch(NetworkBuilder& builder, const std::string& name, std::int32_t x, Block block,
                             std::int64_t mid) {
  const std::int64_t out_channels[] = {mid, mid, block.out_channels};
  block.kernel_size = 3;
  for (int i = 0; i < 3; ++i, block.stride = 1) {
    x = builder.add(std::format("{}.depthwise{}", name, i), depthwise(builder.shape(x).channels, block), {x});
    x = convolution(builder, std::format("{}.pointwise{}", name, i), x, {.out_channels = out_channels[i]},
                    block.activation);
  }
  return x;
}

}  // namespace

std::int64_t round_channels(double channels) {
  const auto rounded = std::max<std::int64_t>(4, static_cast<std::int64_t>(channels + 2) / 4 * 4);
  return static_cast<double>(rounded) < 0.9 * channels ? rounded + 4 : rounded;
}

std::int32_t convolution(NetworkBuilder& builder, const std::string& name, std::int32_t x, Convolution operation,
                         ActivationKind activation) {
  x = builder.add(name, operation, {x});
  return builder.add(name + ".activation", Activation{activation}, {x});
}

std::int32_t inverted_residual(NetworkBuilder& builder, const std::string& name, std::int32_t input, const Block& block,
                               std::int64_t expanded, bool squeeze_excite) {
  const std::int64_t in_channels = builder.shape(input).channels;
  std::int32_t x = convolution(builder, name + ".expand", input, {.out_channels = expanded}, block.activation);
  x = convolution(builder, name + ".depthwise", x, depthwise(expanded, block), block.activation);
  if (squeeze_excite) {
    // A quarter of the block's input, not of its expansion: a fraction of the parameters for the same gate
    // (Tan 2019, MnasNet).
    const std::int64_t squeezed = round_channels(static_cast<double>(in_channels) / 4);
    std::int32_t gate = builder.add(name + ".squeeze", GlobalAveragePool{}, {x});
    gate =
        builder.add(name + ".reduce", Convolution{.out_channels = squeezed, .bias = true, .batch_norm = false}, {gate});
    gate = builder.add(name + ".reduce.activation", Activation{ActivationKind::relu}, {gate});
    gate =
        builder.add(name + ".excite", Convolution{.out_channels = expanded, .bias = true, .batch_norm = false}, {gate});
    gate = builder.add(name + ".gate", Activation{ActivationKind::hard_sigmoid}, {gate});
    x = builder.add(name + ".scale", Scale{}, {x, gate});
  }
  x = builder.add(name + ".project", Convolution{.out_channels = block.out_channels}, {x});
  if (block.stride == 1 && in_channels == block.out_channels) x = builder.add(name + ".add", Add{}, {x, input});
  return x;
}

std::int32_t separable(NetworkBuilder& builder, const std::string& name, std::int32_t input, const Block& block) {
  const std::int32_t x = convolution(builder, name + ".depthwise", input,
                                     depthwise(builder.shape(input).channels, block), block.activation);
  return convolution(builder, name + ".pointwise", x, {.out_channels = block.out_channels}, block.activation);
}

std::int32_t residual(NetworkBuilder& builder, const std::string& name, std::int32_t input, const Block& block) {
  std::int32_t x = convolution(builder, name + ".conv0", input, square(block), block.activation);
  Block second = block;
  second.stride = 1;
  x = builder.add(name + ".conv1", square(second), {x});
  std::int32_t shortcut = input;
  if (block.stride != 1 || builder.shape(input).channels != block.out_channels) {
    shortcut = builder.add(name + ".shortcut", Convolution{.out_channels = block.out_channels, .stride = block.stride},
                           {input});
  }
  x = builder.add(name + ".add", Add{}, {x, shortcut});
  return builder.add(name + ".activation", Activation{block.activation}, {x});
}

std::int32_t shuffle_unit(NetworkBuilder& builder, const std::string& name, std::int32_t input, const Block& block,
                          ShuffleBranch branch, std::int64_t mid) {
  Block half = block;
  half.out_channels = block.out_channels / 2;
  std::int32_t passed = input, processed = input;
  if (block.stride == 1 && builder.shape(input).channels == block.out_channels) {
    passed = builder.add(name + ".passed", ChannelSlice{0, half.out_channels}, {input});
    processed = builder.add(name + ".processed", ChannelSlice{half.out_channels, half.out_channels}, {input});
  } else {
    if (branch == ShuffleBranch::xception) half.kernel_size = 3;
    passed = builder.add(name + ".shortcut.depthwise", depthwise(builder.shape(input).channels, half), {input});
    passed = convolution(builder, name + ".shortcut", passed, {.out_channels = half.out_channels}, block.activation);
  }
  processed = branch == ShuffleBranch::shuffle ? shuffle_branch(builder, name + ".branch", processed, half, mid)
                                               : xception_branch(builder, name + ".xception", processed, half, mid);
  const std::int32_t joined = builder.add(name + ".joined", Concat{}, {passed, processed});
  return builder.add(name + ".shuffle", ChannelShuffle{2}, {joined});
}

void classify(NetworkBuilder& builder, std::int32_t x, std::int64_t classes) {
  x = builder.add("pool", GlobalAveragePool{}, {x});
  builder.add("classifier", Linear{classes}, {x});
}

}  // namespace finch::search
