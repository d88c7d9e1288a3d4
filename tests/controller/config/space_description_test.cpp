// Spaces of the user's own: what is read, what is refused, each with the whole message that a person reads.
#include "controller/config/space_description.hpp"

#include <gmock/gmock.h>

#include <fstream>

#include "controller/config/campaign_config.hpp"
#include "tests/controller/config/temporary_folder.hpp"

namespace finch::controller {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kSpace = R"([space]
resolution = [20, 28]
width_multiplier = [0.5, 1]
activation = ["relu", "hard_swish"]
[stem]
channels = 8
[[stage]]
blocks = "residual"
channels = 16
[[stage]]
blocks = ["shuffle", "inverted_residual"]
depth = [1, 2]
channels = [24, 32]
stride = 2
kernel_size = [3, 5]
expand_ratio = [2, 3.5]
channel_ratio = [0.5, 1.0]
squeeze_excite = [false, true]
[head]
channels = 0
)";

std::string error_of(const std::string& text) {
  const auto space = parse_space(text, "my_space.toml");
  return space ? "no error" : space.error().message;
}

TEST(SpaceDescription, ReadsEveryKey) {
  const auto space = parse_space(kSpace, "folder/my_space.toml");
  ASSERT_TRUE(space) << space.error().message;
  EXPECT_EQ(space->name, "my_space");
  const search::CustomSpaceConfig& config = space->config;
  EXPECT_THAT(config.resolution, ElementsAre(20, 28));
  EXPECT_THAT(config.width_multiplier, ElementsAre(0.5, 1));
  EXPECT_EQ(config.activation.size(), 2U);
  EXPECT_EQ(config.stem_channels, 8);
  EXPECT_EQ(config.head_channels, 0);
  ASSERT_EQ(config.stages.size(), 2U);
  EXPECT_THAT(config.stages[0].blocks, ElementsAre(search::BlockType::residual));
  EXPECT_THAT(config.stages[0].channels, ElementsAre(16));
  const search::CustomStage& stage = config.stages[1];
  EXPECT_THAT(stage.blocks, ElementsAre(search::BlockType::shuffle, search::BlockType::inverted_residual));
  EXPECT_THAT(stage.depth, ElementsAre(1, 2));
  EXPECT_THAT(stage.channels, ElementsAre(24, 32));
  EXPECT_EQ(stage.stride, 2);
  EXPECT_THAT(stage.kernel_size, ElementsAre(3, 5));
  EXPECT_THAT(stage.expand_ratio, ElementsAre(2, 3.5));
  EXPECT_THAT(stage.channel_ratio, ElementsAre(0.5, 1));
  EXPECT_THAT(stage.squeeze_excite, ElementsAre(false, true));
}

TEST(SpaceDescription, NamesLineKeyAndRemedyOfAMistake) {
  const std::string stage = "[[stage]]\nblocks = \"residual\"\nchannels = 16\n";
  EXPECT_EQ(error_of(stage + "kernel_sise = 3\n"),
            "my_space.toml:4: key 'stage.kernel_sise' is not known; did you mean 'stage.kernel_size'?");
  EXPECT_EQ(error_of(stage + "kernel_size = [3, 4]\n"),
            "my_space.toml:4: stage.kernel_size: 4 is even; a kernel has a middle: 1, 3, 5, 7, ...");
  EXPECT_EQ(error_of(stage + "depth = [2, 1]\n"),
            "my_space.toml:4: stage.depth: list different values, from the smallest to the greatest");
  EXPECT_EQ(error_of(stage + "stride = 9\n"), "my_space.toml:4: stage.stride: 9 is outside 1 .. 4");
  EXPECT_EQ(error_of(stage + "expand_ratio = \"two\"\n"),
            "my_space.toml:4: stage.expand_ratio: expected numbers, got a string");
  EXPECT_EQ(error_of(stage + "depth = 1.5\n"), "my_space.toml:4: stage.depth: expected whole numbers, got a number");
  EXPECT_EQ(error_of("[[stage]]\nblocks = [\"residul\"]\nchannels = 16\n"),
            "my_space.toml:2: stage.blocks: 'residul' is not known; did you mean 'residual'?");
  EXPECT_EQ(error_of("[[stage]]\nblocks = \"residual\"\n"), "my_space.toml:1: stage.channels: give at least one value");
  EXPECT_EQ(error_of(stage + "[stm]\nchannels = 8\n"), "my_space.toml:4: 'stm' is not known; did you mean 'stem'?");
  EXPECT_EQ(error_of("[space]\nname = \"mobilenet\"\n" + stage),
            "my_space.toml:2: space.name: 'mobilenet' is built in; give the space a name of its own");
  EXPECT_THAT(error_of(""), HasSubstr("space.stage: a space needs at least one [[stage]]"));
  EXPECT_THAT(error_of("stage = ["), HasSubstr("my_space.toml:1:"));
}

class CampaignWithASpace : public testing::Test {
 protected:
  CampaignWithASpace() {
    std::filesystem::create_directory(folder_.path() / "data");
    write(kSpace);
  }
  void write(const std::string& text) const { std::ofstream(folder_.path() / "pocket.toml") << text; }
  std::expected<CampaignConfig, Error> parse(const std::string& space) const {
    return parse_campaign("[data]\npath = \"data\"\n[budget]\nevaluations = 12\n[space]\n" + space,
                          folder_.path() / "campaign.toml");
  }
  TemporaryFolder folder_;
};

TEST_F(CampaignWithASpace, KeepsTheFilesContentWhenItIsResolved) {
  const auto config = parse("file = \"pocket.toml\"\n");
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->space, "pocket");
  ASSERT_TRUE(config->space_file);
  EXPECT_EQ(config->space_file->config.stages.size(), 2U);
  const std::string resolved = resolved_toml(*config);
  write("[[stage]]\nblocks = \"residual\"\nchannels = 16\n");  // a change after the campaign began changes nothing
  const auto again = parse_campaign(resolved, folder_.path() / "elsewhere" / "campaign.toml");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->space, "pocket");
  EXPECT_EQ(again->space_file->config.stages.size(), 2U);
  EXPECT_EQ(resolved_toml(*again), resolved);
  EXPECT_NE(resolved_toml(*parse("file = \"pocket.toml\"\n")), resolved);
}

TEST_F(CampaignWithASpace, ReportsTheSpacesMistakesWithTheSpacesFile) {
  write("[[stage]]\nblocks = \"residual\"\nchannels = 3\n");
  EXPECT_EQ(parse("file = \"pocket.toml\"\n").error().message,
            (folder_.path() / "pocket.toml").string() + ":3: stage.channels: 3 is outside 4 .. 4096");
  EXPECT_THAT(parse("file = \"nowhere.toml\"\n").error().message, HasSubstr("campaign.toml:6: space.file: "));
  EXPECT_THAT(parse("name = \"mobilenet\"\nfile = \"pocket.toml\"\n").error().message,
              HasSubstr("campaign.toml:7: space.file: give the name of a built-in space or a file"));
}

}  // namespace
}  // namespace finch::controller
