#include "controller/config/measure_parameters.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controller/config/toml_reader.hpp"

namespace finch::controller {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;

std::expected<MeasureOverrides, std::string> read(const std::string& text) {
  auto reader = TomlReader::parse(text, "profile.toml").value();
  TomlTable table = reader->table("measure");
  auto overrides = read_measure_overrides(table);
  if (const auto finished = reader->finish(); !finished) return std::unexpected(finished.error().message);
  return overrides;
}

TEST(MeasureParametersTest, ATierComesBeforeAllOfThem) {
  const auto overrides = read(
      "[measure]\nhalf_width = 0.02\nrounds = 5\n[measure.certify]\nhalf_width = 0.005\n"
      "launches = [4, 8]\n");
  ASSERT_TRUE(overrides) << overrides.error();
  EXPECT_THAT(overrides->of_tier("screen"),
              ElementsAre(Pair("half_width", ElementsAre(0.02)), Pair("rounds", ElementsAre(5))));
  EXPECT_THAT(overrides->of_tier("certify"),
              ElementsAre(Pair("half_width", ElementsAre(0.005)), Pair("launches", ElementsAre(4, 8)),
                          Pair("rounds", ElementsAre(5))));
}

TEST(MeasureParametersTest, EveryOneIsReadAtBothEndsOfItsRangeAndWrittenBack) {
  for (const bool high : {false, true}) {
    MeasureOverrides all;
    for (const MeasureParameterRange& range : measure_parameter_ranges())
      all.by_tier["certify"][range.name] = {high ? range.high : range.low};
    all.all = {{"rounds", {7}}};
    const auto again = read("measure = " + toml_of(all) + "\n");
    ASSERT_TRUE(again) << again.error();
    EXPECT_EQ(*again, all);
  }
}

TEST(MeasureParametersTest, WhatLiesOutsideIsAnErrorWithTheKey) {
  for (const MeasureParameterRange& range : measure_parameter_ranges()) {
    const MeasureOverrides wrong{.all = {{range.name, {range.high + 1}}}, .by_tier = {}};
    const auto result = read("measure = " + toml_of(wrong) + "\n");
    ASSERT_FALSE(result) << range.name;
    EXPECT_THAT(result.error(), HasSubstr(range.name));
  }
  EXPECT_THAT(read("[measure]\nlaunches = [5, 3]\n").error(), HasSubstr("ascending"));
  EXPECT_THAT(read("[measure]\nhalf_wide = 0.1\n").error(), HasSubstr("did you mean 'measure.half_width'"));
  EXPECT_FALSE(read("[measure.fast]\nrounds = 5\n"));
}

TEST(MeasureParametersTest, TheFirstWins) {
  const MeasureOverrides campaign{.all = {{"rounds", {5}}}, .by_tier = {{"quick", {{"half_width", {0.1}}}}}};
  const MeasureOverrides profile{.all = {{"rounds", {9}}, {"memory_runs", {20}}},
                                 .by_tier = {{"quick", {{"half_width", {0.2}}, {"rounds", {8}}}}}};
  const auto both = merged(campaign, profile).of_tier("quick");
  EXPECT_THAT(both, ElementsAre(Pair("half_width", ElementsAre(0.1)), Pair("memory_runs", ElementsAre(20)),
                                Pair("rounds", ElementsAre(5))));
}

}  // namespace
}  // namespace finch::controller
