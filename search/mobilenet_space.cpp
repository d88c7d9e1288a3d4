#include "search/mobilenet_space.hpp"

#include <algorithm>
#include <format>

#include "search/blocks.hpp"
#include "search/image_task.hpp"

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

class MobilenetSpace : public SearchSpace {
 public:
  MobilenetSpace(SpaceConfig config, const Preset& preset) : config_(std::move(config)), preset_(preset) {
    // The image as it is counts as the greatest resolution.
    resolutions_ = scaled_resolutions(preset.resolutions, preset.image_size, config_.image.height);
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
    std::int32_t x = prepared_image(builder, resolution);
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
                               .activation = activation},
                              builder.shape(x).channels * expand_ratio, squeeze_excite);
      }
    }
    x = convolution(builder, "head", x,
                    {.out_channels = round_channels(static_cast<double>(preset_.head_channels) * width)}, activation);
    classify(builder, x, config_.classes);
    return builder.finish();
  }

 private:
  static constexpr std::size_t kGlobalDecisions = 3, kStageDecisions = 2, kBlockDecisions = 2;

  SpaceConfig config_;
  Preset preset_;
  std::vector<std::int64_t> resolutions_;
  std::vector<Decision> decisions_;
};

}  // namespace

std::expected<std::unique_ptr<SearchSpace>, Error> make_mobilenet_space(const SpaceConfig& config) {
  if (auto checked = check_task("mobilenet", config, 16); !checked) return std::unexpected(checked.error());
  return std::make_unique<MobilenetSpace>(config, presets()[preset_for(config.image)]);
}

}  // namespace finch::search
