#include "search/mobilenet_space.hpp"

#include <algorithm>
#include <format>

namespace finch::search {
namespace {

struct Stage {
  std::int64_t channels;  // at width 1.0
  std::int64_t stride;    // of its first block
  int max_depth;          // depth is 1 .. max_depth
};

struct Preset {
  std::int64_t image_size;  // designed for; other images scale the resolutions
  std::vector<std::int64_t> resolutions;
  std::int64_t stem_channels, stem_stride;
  std::vector<Stage> stages;
  std::int64_t head_channels;
};

const std::vector<Preset>& presets() {
  static const std::vector<Preset> all = {
      {28, {14, 20, 28}, 16, 2, {{16, 1, 2}, {32, 2, 3}, {64, 2, 3}}, 128},
      {32, {16, 24, 32}, 16, 1, {{16, 2, 2}, {32, 2, 3}, {64, 2, 3}}, 160},
      {224, {128, 160, 192, 224}, 16, 2, {{24, 2, 4}, {40, 2, 4}, {80, 2, 4}, {112, 1, 4}, {160, 2, 4}}, 960},
  };
  return all;
}

constexpr double kWidths[] = {0.5, 0.75, 1.0, 1.25};
constexpr std::int64_t kKernelSizes[] = {3, 5, 7};
constexpr std::int64_t kExpandRatios[] = {2, 3, 4, 6};

// Multiples of 4, never below 4 nor more than 10 % below what was asked (MobileNetV2's rule with divisor 8).
std::int64_t round_channels(double channels) {
  const auto rounded = std::max<std::int64_t>(4, static_cast<std::int64_t>(channels + 2) / 4 * 4);
  return static_cast<double>(rounded) < 0.9 * channels ? rounded + 4 : rounded;
}

template <typename Range>
std::vector<std::string> labels(const Range& values) {
  std::vector<std::string> all;
  for (const auto& value : values) all.push_back(std::format("{}", value));
  return all;
}

class MobilenetSpace : public SearchSpace {
 public:
  MobilenetSpace(SpaceConfig config, const Preset& preset) : config_(std::move(config)), preset_(preset) {
    // The image as it is counts as the greatest resolution.
    resolutions_ = preset.resolutions;
    for (std::int64_t& resolution : resolutions_) {
      resolution = std::max<std::int64_t>(8, resolution * config_.image.height / preset.image_size);
    }
    decisions_ = {{"resolution", labels(resolutions_)},
                  {"width_multiplier", labels(kWidths)},
                  {"activation", {"relu", "hard_swish"}}};
    for (std::size_t s = 0; s < preset.stages.size(); ++s) {
      std::vector<std::string> depths;
      for (int depth = 1; depth <= preset.stages[s].max_depth; ++depth) depths.push_back(std::to_string(depth));
      decisions_.push_back({std::format("stage{}.depth", s + 1), depths});
      decisions_.push_back({std::format("stage{}.squeeze_excite", s + 1), {"no", "yes"}});
      for (int b = 0; b < preset.stages[s].max_depth; ++b) {
        decisions_.push_back({std::format("stage{}.block{}.kernel_size", s + 1, b), labels(kKernelSizes)});
        decisions_.push_back({std::format("stage{}.block{}.expand_ratio", s + 1, b), labels(kExpandRatios)});
      }
    }
  }

  std::string_view name() const override { return "mobilenet"; }
  std::span<const Decision> decisions() const override { return decisions_; }

  Genotype canonical(const Genotype& genotype) const override {
    Genotype result = genotype;
    std::size_t at = kGlobalDecisions;
    for (const Stage& stage : preset_.stages) {
      const int depth = result[at] + 1;
      at += kStageDecisions;
      for (int b = 0; b < stage.max_depth; ++b, at += kBlockDecisions) {
        if (b >= depth) std::fill_n(result.begin() + static_cast<std::ptrdiff_t>(at), kBlockDecisions, 0);
      }
    }
    return result;
  }

  std::expected<Network, Error> decode(const Genotype& genotype) const override {
    if (!valid(genotype)) {
      return std::unexpected(Error{std::format("genotype {} does not belong to the space mobilenet for {} x {} images",
                                               to_string(genotype), config_.image.height, config_.image.width)});
    }
    auto next = [&, at = std::size_t{0}]() mutable { return static_cast<std::size_t>(genotype[at++]); };
    const std::int64_t resolution = resolutions_[next()];
    const double width = kWidths[next()];
    const ActivationKind activation = next() == 0 ? ActivationKind::relu : ActivationKind::hard_swish;

    NetworkBuilder builder(config_.image);
    std::int32_t x = builder.add("normalize", Normalize{}, {0});
    if (resolution != config_.image.height) x = builder.add("resize", Resize{resolution, resolution}, {x});
    x = convolution(builder, "stem", x,
                    {.out_channels = round_channels(static_cast<double>(preset_.stem_channels) * width),
                     .kernel_size = 3,
                     .stride = preset_.stem_stride,
                     .padding = 1},
                    activation);
    for (std::size_t s = 0; s < preset_.stages.size(); ++s) {
      const Stage& stage = preset_.stages[s];
      const std::size_t depth = next() + 1;
      const bool squeeze_excite = next() == 1;
      for (std::size_t b = 0; b < static_cast<std::size_t>(stage.max_depth); ++b) {
        const std::int64_t kernel_size = kKernelSizes[next()];
        const std::int64_t expand_ratio = kExpandRatios[next()];
        if (b >= depth) continue;
        x = inverted_residual(builder, std::format("stage{}.block{}", s + 1, b), x,
                              {.out_channels = round_channels(static_cast<double>(stage.channels) * width),
                               .stride = b == 0 ? stage.stride : 1,
                               .kernel_size = kernel_size,
                               .expand_ratio = expand_ratio,
                               .squeeze_excite = squeeze_excite,
                               .activation = activation});
      }
    }
    x = convolution(builder, "head", x,
                    {.out_channels = round_channels(static_cast<double>(preset_.head_channels) * width)}, activation);
    x = builder.add("pool", GlobalAveragePool{}, {x});
    builder.add("classifier", Linear{config_.classes}, {x});
    return builder.finish();
  }

 private:
  static constexpr std::size_t kGlobalDecisions = 3, kStageDecisions = 2, kBlockDecisions = 2;

  struct Block {
    std::int64_t out_channels, stride, kernel_size, expand_ratio;
    bool squeeze_excite;
    ActivationKind activation;
  };

  static std::int32_t convolution(NetworkBuilder& builder, const std::string& name, std::int32_t x,
                                  Convolution operation, ActivationKind activation) {
    x = builder.add(name, operation, {x});
    return builder.add(name + ".activation", Activation{activation}, {x});
  }

  // 1x1 expand, depthwise, squeeze-and-excite, 1x1 project without activation, and the shortcut where shapes agree.
  static std::int32_t inverted_residual(NetworkBuilder& builder, const std::string& name, std::int32_t input,
                                        const Block& block) {
    const std::int64_t in_channels = builder.shape(input).channels;
    const std::int64_t expanded = in_channels * block.expand_ratio;
    std::int32_t x = convolution(builder, name + ".expand", input, {.out_channels = expanded}, block.activation);
    x = convolution(builder, name + ".depthwise", x,
                    {.out_channels = expanded,
                     .kernel_size = block.kernel_size,
                     .stride = block.stride,
                     .padding = block.kernel_size / 2,
                     .groups = expanded},
                    block.activation);
    if (block.squeeze_excite) {
      // A quarter of the block's input, not of its expansion: a fraction of the parameters for the same gate
      // (Tan 2019, MnasNet).
      const std::int64_t squeezed = round_channels(static_cast<double>(in_channels) / 4);
      std::int32_t gate = builder.add(name + ".squeeze", GlobalAveragePool{}, {x});
      gate = builder.add(name + ".reduce", Convolution{.out_channels = squeezed, .bias = true, .batch_norm = false},
                         {gate});
      gate = builder.add(name + ".reduce.activation", Activation{ActivationKind::relu}, {gate});
      gate = builder.add(name + ".excite", Convolution{.out_channels = expanded, .bias = true, .batch_norm = false},
                         {gate});
      gate = builder.add(name + ".gate", Activation{ActivationKind::hard_sigmoid}, {gate});
      x = builder.add(name + ".scale", Scale{}, {x, gate});
    }
    x = builder.add(name + ".project", Convolution{.out_channels = block.out_channels}, {x});
    if (block.stride == 1 && in_channels == block.out_channels) x = builder.add(name + ".add", Add{}, {x, input});
    return x;
  }

  SpaceConfig config_;
  Preset preset_;
  std::vector<std::int64_t> resolutions_;
  std::vector<Decision> decisions_;
};

}  // namespace

std::expected<std::unique_ptr<SearchSpace>, Error> make_mobilenet_space(const SpaceConfig& config) {
  const TensorShape& image = config.image;
  if (image.height != image.width || image.height < 16 || image.height > 512 || image.channels < 1) {
    return std::unexpected(
        Error{std::format("the space mobilenet serves square images of 16 to 512 pixels, not {} x {} with {} channels",
                          image.height, image.width, image.channels)});
  }
  if (config.classes < 2) return std::unexpected(Error{"a classifier needs at least 2 classes"});
  const std::size_t preset = image.height > 64 ? 2 : image.height >= 32 ? 1 : 0;
  return std::make_unique<MobilenetSpace>(config, presets()[preset]);
}

}  // namespace finch::search
