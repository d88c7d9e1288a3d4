#include "search/custom_space.hpp"

#include <algorithm>
#include <format>
#include <map>
#include <ranges>

#include "search/blocks.hpp"
#include "search/image_task.hpp"

namespace finch::search {
namespace {

// What one block has decided.
struct BlockChoice {
  BlockType type;
  std::int64_t kernel_size;
  double expand_ratio, channel_ratio;
};

bool uses_kernel_size(BlockType type) {
  return type != BlockType::xception;
}
bool uses_channel_ratio(BlockType type) {
  return type == BlockType::shuffle || type == BlockType::xception;
}

class CustomSpace : public SearchSpace {
 public:
  explicit CustomSpace(SpaceConfig config) : config_(std::move(config)), space_(*config_.custom) {
    if (space_.resolution.empty()) space_.resolution = {config_.image.height};
    decide("resolution", labels(space_.resolution));
    decide("width_multiplier", labels(space_.width_multiplier));
    decide("activation", names(space_.activation));
    for (std::size_t s = 0; s < space_.stages.size(); ++s) {
      const CustomStage& stage = space_.stages[s];
      const auto has = [&](auto uses) { return std::ranges::any_of(stage.blocks, uses); };
      const bool inverted = has([](BlockType type) { return type == BlockType::inverted_residual; });
      const std::string name = std::format("stage{}", s + 1);
      decide(name + ".depth", labels(stage.depth));
      decide(name + ".channels", labels(stage.channels));
      if (inverted && stage.squeeze_excite.size() > 1) decide(name + ".squeeze_excite", {"no", "yes"});
      for (std::int64_t b = 0; b < stage.depth.back(); ++b) {
        const std::string block = std::format("{}.block{}", name, b);
        decide(block + ".type", names(stage.blocks));
        if (has(uses_kernel_size)) decide(block + ".kernel_size", labels(stage.kernel_size));
        if (inverted) decide(block + ".expand_ratio", labels(stage.expand_ratio));
        if (has(uses_channel_ratio)) decide(block + ".channel_ratio", labels(stage.channel_ratio));
      }
    }
  }

  std::string_view name() const override { return config_.name; }
  std::span<const Decision> decisions() const override { return decisions_; }

  Genotype canonical(const Genotype& genotype) const override {
    Genotype result(genotype.size(), 0);
    // What building the network asks for is what has an effect.
    const auto keep = [&](const std::string& name) {
      const auto at = index_.find(name);
      return at == index_.end() ? std::size_t{0} : static_cast<std::size_t>(result[at->second] = genotype[at->second]);
    };
    read(keep, [](auto&&...) {});
    return result;
  }

  std::expected<Network, Error> decode(const Genotype& genotype) const override {
    if (!valid(genotype)) {
      return std::unexpected(
          Error{std::format("genotype {} does not belong to the space {} for {} x {} images", to_string(genotype),
                            config_.name, config_.image.height, config_.image.width)});
    }
    const auto choice = [&](const std::string& name) {
      const auto at = index_.find(name);
      return at == index_.end() ? std::size_t{0} : static_cast<std::size_t>(genotype[at->second]);
    };
    const ActivationKind activation = space_.activation[choice("activation")];
    const double width = space_.width_multiplier[choice("width_multiplier")];
    const auto scaled = [&](std::int64_t channels) { return round_channels(static_cast<double>(channels) * width); };

    NetworkBuilder builder(config_.image);
    std::int32_t x = prepared_image(builder, space_.resolution[choice("resolution")]);
    x = convolution(builder, "stem", x,
                    {.out_channels = scaled(space_.stem_channels),
                     .kernel_size = space_.stem_kernel_size,
                     .stride = space_.stem_stride,
                     .padding = space_.stem_kernel_size / 2},
                    activation);
    read(choice, [&](const std::string& name, std::int64_t channels, std::int64_t stride, bool squeeze_excite,
                     const BlockChoice& chosen) {
      x = append(builder, name, x,
                 {.out_channels = scaled(channels),
                  .stride = stride,
                  .kernel_size = chosen.kernel_size,
                  .activation = activation},
                 chosen, squeeze_excite);
    });
    if (space_.head_channels > 0)
      x = convolution(builder, "head", x, {.out_channels = scaled(space_.head_channels)}, activation);
    classify(builder, x, config_.classes);
    return builder.finish();
  }

 private:
  void decide(std::string name, std::vector<std::string> choices) {
    if (choices.size() < 2) return;
    index_[name] = decisions_.size();
    decisions_.push_back({std::move(name), std::move(choices)});
  }

  template <typename T>
  static std::vector<std::string> names(const std::vector<T>& values) {
    std::vector<std::string> all;
    for (const T value : values) all.emplace_back(to_string(value));
    return all;
  }

  // Asks `choice` for the decisions that have an effect, by name, and hands every block on, first to last.
  void read(auto choice, auto block) const {
    choice("resolution");
    choice("width_multiplier");
    choice("activation");
    for (std::size_t s = 0; s < space_.stages.size(); ++s) {
      const CustomStage& stage = space_.stages[s];
      const std::string name = std::format("stage{}", s + 1);
      const std::int64_t depth = stage.depth[choice(name + ".depth")];
      const std::int64_t channels = stage.channels[choice(name + ".channels")];
      for (std::int64_t b = 0; b < depth; ++b) {
        const std::string at = std::format("{}.block{}", name, b);
        BlockChoice chosen{stage.blocks[choice(at + ".type")], 3, 0, 0};
        bool squeeze_excite = false;
        if (uses_kernel_size(chosen.type)) chosen.kernel_size = stage.kernel_size[choice(at + ".kernel_size")];
        if (uses_channel_ratio(chosen.type)) chosen.channel_ratio = stage.channel_ratio[choice(at + ".channel_ratio")];
        if (chosen.type == BlockType::inverted_residual) {
          chosen.expand_ratio = stage.expand_ratio[choice(at + ".expand_ratio")];
          squeeze_excite = stage.squeeze_excite[choice(name + ".squeeze_excite")];
        }
        block(at, channels, b == 0 ? stage.stride : 1, squeeze_excite, chosen);
      }
    }
  }

  // A block's type is part of its nodes' names: weights are inherited between blocks of one type only.
  static std::int32_t append(NetworkBuilder& builder, const std::string& at, std::int32_t x, const Block& block,
                             const BlockChoice& chosen, bool squeeze_excite) {
    const std::string name = std::format("{}.{}", at, to_string(chosen.type));
    const auto inner = [&](std::int64_t channels, double ratio) {
      return round_channels(static_cast<double>(channels) * ratio);
    };
    switch (chosen.type) {
      case BlockType::convolution:
        return convolution(builder, name, x,
                           {.out_channels = block.out_channels,
                            .kernel_size = block.kernel_size,
                            .stride = block.stride,
                            .padding = block.kernel_size / 2},
                           block.activation);
      case BlockType::separable:
        return separable(builder, name, x, block);
      case BlockType::residual:
        return residual(builder, name, x, block);
      case BlockType::inverted_residual:
        return inverted_residual(builder, name, x, block, inner(builder.shape(x).channels, chosen.expand_ratio),
                                 squeeze_excite);
      case BlockType::shuffle:
        return shuffle_unit(builder, name, x, block, ShuffleBranch::shuffle,
                            inner(block.out_channels / 2, chosen.channel_ratio));
      case BlockType::xception:
        return shuffle_unit(builder, name, x, block, ShuffleBranch::xception,
                            inner(block.out_channels / 2, chosen.channel_ratio));
    }
    return x;
  }

  SpaceConfig config_;
  CustomSpaceConfig space_;
  std::vector<Decision> decisions_;
  std::map<std::string, std::size_t> index_;  // of a decision, by name
};

}  // namespace

std::expected<std::unique_ptr<SearchSpace>, Error> make_custom_space(const SpaceConfig& config) {
  if (auto checked = check_task(config.name, config, 8); !checked) return std::unexpected(checked.error());
  if (const auto problems = problems_of(*config.custom); !problems.empty()) {
    const SpaceProblem& first = problems.front();
    const std::string where = first.stage ? std::format("stage {}", *first.stage + 1) : first.table;
    return std::unexpected(Error{std::format("the space {}: {}: {}: {}", config.name, where, first.key, first.what)});
  }
  return std::make_unique<CustomSpace>(config);
}

}  // namespace finch::search
