#include "search/shufflenet_space.hpp"

#include <algorithm>
#include <format>

#include "search/blocks.hpp"
#include "search/image_task.hpp"

namespace finch::search {
namespace {

struct Stage {
  std::int64_t channels;  // at width 1.0
  std::int64_t stride;    // of its first unit
  int max_depth;          // depth is 1 .. max_depth
};

struct Preset {
  std::int64_t image_size;
  std::vector<std::int64_t> resolutions;
  std::int64_t stem_channels, stem_stride;
  std::vector<Stage> stages;
  std::int64_t head_channels;
};

const std::vector<Preset>& presets() {
  static const std::vector<Preset> all = {
      {28, {14, 20, 28}, 16, 2, {{32, 1, 2}, {64, 2, 3}, {128, 2, 3}}, 128},
      {32, {16, 24, 32}, 16, 1, {{32, 2, 2}, {64, 2, 3}, {128, 2, 3}}, 160},
      {224, {128, 160, 192, 224}, 16, 2, {{64, 2, 4}, {160, 2, 4}, {320, 2, 8}, {640, 2, 4}}, 1024},
  };
  return all;
}

constexpr double kWidths[] = {0.5, 0.75, 1.0, 1.25};
constexpr double kChannelRatios[] = {0.5, 1.0, 1.5};  // of a unit's inner channels to half of its output
constexpr std::int64_t kKernelSizes[] = {3, 5, 7};    // the choice behind them is the xception branch

class ShufflenetSpace : public SearchSpace {
 public:
  ShufflenetSpace(SpaceConfig config, const Preset& preset)
      : config_(std::move(config)),
        preset_(preset),
        resolutions_(scaled_resolutions(preset.resolutions, preset.image_size, config_.image.height)) {
    decisions_ = {{"resolution", labels(resolutions_)}, {"width_multiplier", labels(kWidths)}};
    std::vector<std::string> units = labels(kKernelSizes);
    units.push_back("xception");
    for (std::size_t s = 0; s < preset.stages.size(); ++s) {
      std::vector<std::string> depths;
      for (int depth = 1; depth <= preset.stages[s].max_depth; ++depth) depths.push_back(std::to_string(depth));
      decisions_.push_back({std::format("stage{}.depth", s + 1), depths});
      for (int b = 0; b < preset.stages[s].max_depth; ++b) {
        decisions_.push_back({std::format("stage{}.block{}.unit", s + 1, b), units});
        decisions_.push_back({std::format("stage{}.block{}.channel_ratio", s + 1, b), labels(kChannelRatios)});
      }
    }
  }

  std::string_view name() const override { return "shufflenet"; }
  std::span<const Decision> decisions() const override { return decisions_; }

  Genotype canonical(const Genotype& genotype) const override {
    Genotype result = genotype;
    std::size_t at = kGlobalDecisions;
    for (const Stage& stage : preset_.stages) {
      const int depth = result[at++] + 1;
      for (int b = 0; b < stage.max_depth; ++b, at += kBlockDecisions) {
        if (b >= depth) std::fill_n(result.begin() + static_cast<std::ptrdiff_t>(at), kBlockDecisions, 0);
      }
    }
    return result;
  }

  std::expected<Network, Error> decode(const Genotype& genotype) const override {
    if (!valid(genotype)) {
      return std::unexpected(Error{std::format("genotype {} does not belong to the space shufflenet for {} x {} images",
                                               to_string(genotype), config_.image.height, config_.image.width)});
    }
    auto next = [&, at = std::size_t{0}]() mutable { return static_cast<std::size_t>(genotype[at++]); };
    const std::int64_t resolution = resolutions_[next()];
    const double width = kWidths[next()];
    const auto scaled = [&](std::int64_t channels) { return round_channels(static_cast<double>(channels) * width); };

    NetworkBuilder builder(config_.image);
    std::int32_t x = prepared_image(builder, resolution);
    x = convolution(
        builder, "stem", x,
        {.out_channels = scaled(preset_.stem_channels), .kernel_size = 3, .stride = preset_.stem_stride, .padding = 1},
        ActivationKind::relu);
    for (std::size_t s = 0; s < preset_.stages.size(); ++s) {
      const Stage& stage = preset_.stages[s];
      const std::size_t depth = next() + 1;
      Block block{.out_channels = scaled(stage.channels), .stride = stage.stride};
      for (std::size_t b = 0; b < static_cast<std::size_t>(stage.max_depth); ++b, block.stride = 1) {
        const std::size_t unit = next();
        const double ratio = kChannelRatios[next()];
        if (b >= depth) continue;
        const bool xception = unit == std::size(kKernelSizes);
        block.kernel_size = xception ? 3 : kKernelSizes[unit];
        x = shuffle_unit(builder, std::format("stage{}.block{}", s + 1, b), x, block,
                         xception ? ShuffleBranch::xception : ShuffleBranch::shuffle,
                         round_channels(static_cast<double>(block.out_channels / 2) * ratio));
      }
    }
    x = convolution(builder, "head", x, {.out_channels = scaled(preset_.head_channels)}, ActivationKind::relu);
    classify(builder, x, config_.classes);
    return builder.finish();
  }

 private:
  static constexpr std::size_t kGlobalDecisions = 2, kBlockDecisions = 2;

  SpaceConfig config_;
  Preset preset_;
  std::vector<std::int64_t> resolutions_;
  std::vector<Decision> decisions_;
};

}  // namespace

std::expected<std::unique_ptr<SearchSpace>, Error> make_shufflenet_space(const SpaceConfig& config) {
  if (auto checked = check_task("shufflenet", config, 16); !checked) return std::unexpected(checked.error());
  return std::make_unique<ShufflenetSpace>(config, presets()[preset_for(config.image)]);
}

}  // namespace finch::search
