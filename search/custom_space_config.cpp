#include "search/custom_space_config.hpp"

#include <algorithm>
#include <format>
#include <functional>
#include <span>

namespace finch::search {
namespace {

constexpr BlockType kBlockTypes[] = {BlockType::convolution,       BlockType::separable, BlockType::residual,
                                     BlockType::inverted_residual, BlockType::shuffle,   BlockType::xception};
constexpr ActivationKind kActivations[] = {ActivationKind::relu, ActivationKind::relu6, ActivationKind::hard_swish,
                                           ActivationKind::silu};

template <typename T>
std::expected<T, Error> parse(const char* what, std::span<const T> all, std::string_view name) {
  const auto found = std::ranges::find_if(all, [&](T each) { return name == to_string(each); });
  if (found != all.end()) return *found;
  return std::unexpected(Error{std::format("there is no {} '{}'", what, name)});
}

template <typename T>
std::vector<std::string> names(std::span<const T> all) {
  std::vector<std::string> names;
  for (const T each : all) names.emplace_back(to_string(each));
  return names;
}

// Collects what is wrong in one table.
class Check {
 public:
  Check(std::vector<SpaceProblem>& problems, const char* table, std::optional<std::size_t> stage = std::nullopt)
      : problems_(problems), table_(table), stage_(stage) {}

  void complain(const char* key, std::string what) { problems_.push_back({stage_, table_, key, std::move(what)}); }

  template <typename T>
  void value(const char* key, T value, T low, T high) {
    if (!(value >= low && value <= high)) complain(key, std::format("{} is outside {} .. {}", value, low, high));
  }
  void odd(const char* key, std::int64_t value) {
    if (value % 2 == 0) complain(key, std::format("{} is even; a kernel has a middle: 1, 3, 5, 7, ...", value));
  }
  template <typename T>
  void list(const char* key, const std::vector<T>& values, T low, T high) {
    if (values.empty()) complain(key, "give at least one value");
    for (const T each : values) value(key, each, low, high);
    if (std::ranges::adjacent_find(values, std::greater_equal{}) != values.end())
      complain(key, "list different values, from the smallest to the greatest");
  }
  template <typename T>
  void different(const char* key, const std::vector<T>& values) {
    if (values.empty()) complain(key, "give at least one");
    for (auto at = values.begin(); at != values.end(); ++at) {
      if (std::find(values.begin(), at, *at) != at)
        return complain(key, std::format("'{}' is listed twice", to_string(*at)));
    }
  }

 private:
  std::vector<SpaceProblem>& problems_;
  const char* const table_;
  const std::optional<std::size_t> stage_;
};

constexpr std::int64_t kMostChannels = 4096;

void check_stage(Check check, const CustomStage& stage) {
  check.different("blocks", stage.blocks);
  check.list<std::int64_t>("depth", stage.depth, 1, 32);
  check.list<std::int64_t>("channels", stage.channels, 4, kMostChannels);
  check.value<std::int64_t>("stride", stage.stride, 1, 4);
  check.list<std::int64_t>("kernel_size", stage.kernel_size, 1, 15);
  for (const std::int64_t size : stage.kernel_size) check.odd("kernel_size", size);
  check.list("expand_ratio", stage.expand_ratio, 0.25, 16.0);
  check.list("channel_ratio", stage.channel_ratio, 0.1, 4.0);
  if (stage.squeeze_excite.empty() || stage.squeeze_excite.size() > 2 ||
      (stage.squeeze_excite.size() == 2 && stage.squeeze_excite[0] == stage.squeeze_excite[1])) {
    check.complain("squeeze_excite", "give false, true, or the choice [false, true]");
  }
}

}  // namespace

std::vector<SpaceProblem> problems_of(const CustomSpaceConfig& config) {
  std::vector<SpaceProblem> problems;
  Check space(problems, "space"), stem(problems, "stem"), head(problems, "head");
  if (!config.resolution.empty()) space.list<std::int64_t>("resolution", config.resolution, 8, 512);
  space.list("width_multiplier", config.width_multiplier, 0.1, 4.0);
  space.different("activation", config.activation);
  stem.value<std::int64_t>("channels", config.stem_channels, 4, kMostChannels);
  stem.value<std::int64_t>("kernel_size", config.stem_kernel_size, 1, 15);
  stem.odd("kernel_size", config.stem_kernel_size);
  stem.value<std::int64_t>("stride", config.stem_stride, 1, 4);
  head.value<std::int64_t>("channels", config.head_channels, 0, kMostChannels);
  if (config.stages.empty()) space.complain("stage", "a space needs at least one [[stage]]");
  for (std::size_t s = 0; s < config.stages.size(); ++s) check_stage(Check(problems, "stage", s), config.stages[s]);
  return problems;
}

const char* to_string(BlockType type) {
  switch (type) {
    case BlockType::convolution:
      return "convolution";
    case BlockType::separable:
      return "separable";
    case BlockType::residual:
      return "residual";
    case BlockType::inverted_residual:
      return "inverted_residual";
    case BlockType::shuffle:
      return "shuffle";
    case BlockType::xception:
      return "xception";
  }
  return "?";
}

std::vector<std::string> block_type_names() {
  return names<BlockType>(kBlockTypes);
}

std::expected<BlockType, Error> parse_block_type(std::string_view name) {
  return parse<BlockType>("block", kBlockTypes, name);
}

std::vector<std::string> activation_names() {
  return names<ActivationKind>(kActivations);
}

std::expected<ActivationKind, Error> parse_activation(std::string_view name) {
  return parse<ActivationKind>("activation", kActivations, name);
}

}  // namespace finch::search
