#include "controller/farm/home.hpp"

#include <gmock/gmock.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <map>

#include "tests/controller/farm/temporary_folder.hpp"

namespace finch::controller {
namespace {

using testing::HasSubstr;

class HomeTest : public testing::Test {
 protected:
  HomeTest() {
    for (const char* name : {"FINCH_HOME", "XDG_STATE_HOME", "HOME"}) {
      if (const char* value = ::getenv(name)) before_[name] = value;
      ::unsetenv(name);
    }
  }
  ~HomeTest() override {
    for (const char* name : {"FINCH_HOME", "XDG_STATE_HOME", "HOME"}) {
      before_.contains(name) ? ::setenv(name, before_[name].c_str(), 1) : ::unsetenv(name);
    }
  }
  TemporaryFolder folder_;
  std::map<std::string, std::string> before_;
};

TEST_F(HomeTest, IsTheNearestVariableThatIsSet) {
  ::setenv("HOME", folder_.path().c_str(), 1);
  EXPECT_EQ(open_home()->root, folder_.path() / ".local" / "state" / "finch");
  ::setenv("XDG_STATE_HOME", (folder_.path() / "state").c_str(), 1);
  EXPECT_EQ(open_home()->root, folder_.path() / "state" / "finch");
  ::setenv("FINCH_HOME", (folder_.path() / "mine").c_str(), 1);
  EXPECT_EQ(open_home()->root, folder_.path() / "mine");
}

TEST_F(HomeTest, IsPrivate) {
  ::setenv("FINCH_HOME", (folder_.path() / "mine").c_str(), 1);
  const auto home = open_home().value();
  EXPECT_EQ(std::filesystem::status(home.root).permissions(), std::filesystem::perms::owner_all);
  for (const auto& part : {home.artifacts(), home.workers(), home.logs()}) {
    EXPECT_TRUE(std::filesystem::is_directory(part)) << part;
  }
}

TEST_F(HomeTest, NamesTheFolderThatCannotBeUsed) {
  std::ofstream(folder_.path() / "file") << "not a folder";
  ::setenv("FINCH_HOME", (folder_.path() / "file" / "home").c_str(), 1);
  const auto home = open_home();
  ASSERT_FALSE(home);
  EXPECT_THAT(home.error().message, HasSubstr((folder_.path() / "file" / "home").string()));
  EXPECT_THAT(home.error().message, HasSubstr("set FINCH_HOME"));
}

TEST_F(HomeTest, NeedsAnyVariableAtAll) {
  const auto home = open_home();
  ASSERT_FALSE(home);
  EXPECT_THAT(home.error().message, HasSubstr("set FINCH_HOME"));
}

TEST_F(HomeTest, ProgramsLieBesideTheRunningOne) {
  EXPECT_TRUE(std::filesystem::exists(program_folder() / "home_test"));
}

}  // namespace
}  // namespace finch::controller
