#include "controller/campaign/run_folder.hpp"

#include <gmock/gmock.h>

#include <fstream>

#include "tests/controller/campaign/memory_folder.hpp"

namespace finch::controller {
namespace {

using testing::HasSubstr;

class RunFolderTest : public testing::Test {
 protected:
  std::filesystem::path path() const { return folder_.path() / "runs" / "first"; }
  MemoryFolder folder_;
};

TEST_F(RunFolderTest, MakesItsFolders) {
  const auto folder = RunFolder::create(path());
  ASSERT_TRUE(folder) << folder.error().message;
  EXPECT_TRUE(std::filesystem::is_directory(folder->models()));
  EXPECT_TRUE(std::filesystem::is_directory(folder->raw()));
}

TEST_F(RunFolderTest, KeepsASecondFinchOut) {
  auto folder = RunFolder::create(path());
  ASSERT_TRUE(folder);
  std::ofstream(folder->database()) << "";
  const RunFolder moved = std::move(*folder);  // the lock goes with it
  const auto second = RunFolder::open(path());
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr(path().string()));
  EXPECT_THAT(second.error().message, HasSubstr("another finch works on this run folder"));
  EXPECT_EQ(second.error().exit_code, ExitCode::failed);
}

TEST_F(RunFolderTest, CanBeHeldAgainAfterwards) {
  ASSERT_TRUE(RunFolder::create(path()));
  std::ofstream(path() / "campaign.db") << "";
  EXPECT_TRUE(RunFolder::open(path()));
  EXPECT_TRUE(RunFolder::open(path()));
}

TEST_F(RunFolderTest, SaysHowToGoOnWithACampaignThatIsThere) {
  ASSERT_TRUE(RunFolder::create(path()));
  std::ofstream(path() / "campaign.db") << "";
  const auto again = RunFolder::create(path());
  ASSERT_FALSE(again);
  EXPECT_THAT(again.error().message, HasSubstr("finch resume " + path().string()));
  EXPECT_EQ(again.error().exit_code, ExitCode::usage);
}

TEST_F(RunFolderTest, TakesAFolderWhoseCampaignNeverBegan) {
  ASSERT_TRUE(RunFolder::create(path()));
  EXPECT_TRUE(RunFolder::create(path()));
}

TEST_F(RunFolderTest, LeavesOtherFilesAlone) {
  std::filesystem::create_directories(path() / "models");
  std::ofstream(path() / "models" / "mine.onnx") << "mine";
  const auto folder = RunFolder::create(path());
  ASSERT_FALSE(folder);
  EXPECT_THAT(folder.error().message, HasSubstr("not an empty folder"));
  EXPECT_EQ(folder.error().exit_code, ExitCode::usage);
}

TEST_F(RunFolderTest, RefusesAFileInItsPlace) {
  std::ofstream(folder_.path() / "file") << "x";
  EXPECT_FALSE(RunFolder::create(folder_.path() / "file"));
  EXPECT_FALSE(RunFolder::create(folder_.path() / "file" / "below"));
}

TEST_F(RunFolderTest, SaysThatThereIsNoCampaign) {
  const auto folder = RunFolder::open(path());
  ASSERT_FALSE(folder);
  EXPECT_THAT(folder.error().message, HasSubstr("no campaign here"));
  EXPECT_EQ(folder.error().exit_code, ExitCode::usage);
}

}  // namespace
}  // namespace finch::controller
