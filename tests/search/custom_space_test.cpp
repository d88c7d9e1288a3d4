#include "search/custom_space.hpp"

#include <gmock/gmock.h>

#include <algorithm>

#include "tests/search/sample_custom_space.hpp"

namespace finch::search {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::expected<std::unique_ptr<SearchSpace>, Error> make(CustomSpaceConfig config) {
  return make_search_space({.name = "mine", .image = {1, 28, 28}, .classes = 10, .custom = std::move(config)});
}

std::string problem(auto change) {
  CustomSpaceConfig config = sample_custom_space();
  change(config);
  const auto space = make(config);
  return space ? "no error" : space.error().message;
}

TEST(CustomSpace, DecidesOnlyWhatHasAChoice) {
  const auto space = make({.stages = {{.blocks = {BlockType::residual, BlockType::xception},
                                       .depth = {2},
                                       .channels = {16, 32},
                                       .channel_ratio = {0.5, 1}}}});
  ASSERT_TRUE(space) << space.error().message;
  EXPECT_EQ((*space)->name(), "mine");
  std::vector<std::string> names;
  for (const Decision& decision : (*space)->decisions()) names.push_back(decision.name);
  EXPECT_THAT(names, ElementsAre("stage1.channels", "stage1.block0.type", "stage1.block0.channel_ratio",
                                 "stage1.block1.type", "stage1.block1.channel_ratio"));
}

TEST(CustomSpace, WhatABlockDoesNotUseHasNoEffect) {
  const auto space = make(sample_custom_space()).value();
  const auto decisions = space->decisions();
  const auto index = [&](std::string_view name) {
    return static_cast<std::size_t>(std::ranges::find(decisions, name, &Decision::name) - decisions.begin());
  };
  Genotype genotype = space->smallest();
  genotype[index("stage2.block0.type")] = 1;  // xception
  Genotype other = genotype;
  for (const char* name : {"stage2.block0.kernel_size", "stage2.block0.expand_ratio", "stage2.squeeze_excite",
                           "stage2.block2.type", "stage1.block1.kernel_size"})
    other[index(name)] = 1;
  EXPECT_EQ(space->canonical(other), genotype);
  other[index("stage2.block0.channel_ratio")] = 1;
  EXPECT_NE(space->canonical(other), genotype);
}

TEST(CustomSpace, NamesTheMistakeInADescription) {
  EXPECT_EQ(problem([](auto&) {}), "no error");
  EXPECT_EQ(problem([](auto& space) { space.stages.clear(); }),
            "the space mine: space: stage: a space needs at least one [[stage]]");
  EXPECT_THAT(problem([](auto& space) { space.stages[1].kernel_size = {3, 4}; }), HasSubstr("stage 2: kernel_size: 4"));
  EXPECT_THAT(problem([](auto& space) { space.stages[0].depth = {2, 1}; }), HasSubstr("from the smallest"));
  EXPECT_THAT(problem([](auto& space) { space.stages[0].depth = {2, 2}; }), HasSubstr("different values"));
  EXPECT_THAT(problem([](auto& space) { space.stages[0].channels = {}; }), HasSubstr("channels: give at least one"));
  EXPECT_THAT(problem([](auto& space) { space.stages[0].blocks.push_back(BlockType::residual); }),
              HasSubstr("'residual' is listed twice"));
  EXPECT_THAT(problem([](auto& space) { space.stem_stride = 0; }), HasSubstr("stem: stride: 0 is outside 1 .. 4"));
  EXPECT_THAT(problem([](auto& space) { space.head_channels = -1; }), HasSubstr("head: channels"));
  EXPECT_THAT(problem([](auto& space) { space.stages[0].squeeze_excite = {}; }), HasSubstr("squeeze_excite"));
}

TEST(CustomSpace, NamesOfBlocksReadBack) {
  for (const std::string& name : block_type_names()) EXPECT_EQ(to_string(parse_block_type(name).value()), name);
  for (const std::string& name : activation_names()) EXPECT_EQ(to_string(parse_activation(name).value()), name);
  EXPECT_THAT(parse_block_type("bottleneck").error().message, HasSubstr("no block 'bottleneck'"));
}

}  // namespace
}  // namespace finch::search
