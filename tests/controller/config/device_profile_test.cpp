#include "controller/config/device_profile.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <ostream>
#include <set>

#include "controller/config/campaign_config.hpp"
#include "controller/config/toml_reader.hpp"
#include "tests/controller/config/temporary_folder.hpp"

namespace finch::controller {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::filesystem::path kSource = FINCH_SOURCE_FOLDER;

// The profiles that come with Finch, and for one test another folder of them.
class Profiles : public ::testing::Test {
 protected:
  void SetUp() override { look_in(kSource / "profiles"); }
  void TearDown() override { ::unsetenv("FINCH_PROFILES"); }
  static void look_in(const std::filesystem::path& folder) { ::setenv("FINCH_PROFILES", folder.c_str(), 1); }

  static DeviceProfile load(const std::string& name) {
    const auto profile = load_profile(name);
    EXPECT_TRUE(profile) << profile.error().message;
    return profile.value_or(DeviceProfile{});
  }
};

TEST_F(Profiles, AreTheSevenThatAreDocumented) {
  EXPECT_THAT(profile_names(), ElementsAre("jetson-agx-orin", "jetson-nano", "jetson-orin-nano", "jetson-orin-nx",
                                           "local", "raspberry-pi-4", "raspberry-pi-5"));
}

TEST_F(Profiles, AreFoundWithoutTheEnvironmentToo) {
  ::unsetenv("FINCH_PROFILES");
  EXPECT_THAT(profile_names(), Contains("raspberry-pi-4"));
  ::setenv("FINCH_PROFILES", "", 1);
  EXPECT_THAT(profile_names(), Contains("raspberry-pi-4"));
}

TEST_F(Profiles, AgreeWithThemselvesAndWithWhatACampaignAllows) {
  const std::set<std::string> sensors = {"thermal", "throttle", "pmic-sum", "rail"};
  const std::set<std::string> providers = {"cpu", "xnnpack"};
  for (const std::string& name : profile_names()) {
    SCOPED_TRACE(name);
    const DeviceProfile profile = load(name);
    EXPECT_EQ(profile.name, name);
    EXPECT_FALSE(profile.description.empty());
    EXPECT_THAT(profile.providers, Contains(profile.deploy_provider));
    for (const std::string& provider : profile.providers) EXPECT_TRUE(providers.contains(provider)) << provider;
    for (const std::string& sensor : profile.sensors) EXPECT_TRUE(sensors.contains(sensor)) << sensor;
    if (profile.cores > 0) {
      EXPECT_LE(profile.deploy_threads, profile.cores);
    }

    const TemporaryFolder folder;
    const auto file = folder.write("campaign.toml", "[data]\npath = \".\"\n[budget]\nhours = 1\n");
    auto config = load_campaign(file);
    ASSERT_TRUE(config) << config.error().message;
    resolve(*config, {profile});
    const auto again = parse_campaign(resolved_toml(*config), file);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(again->devices[0].threads, profile.deploy_threads);
  }
}

TEST_F(Profiles, StateWhatTheBoardsAre) {
  struct Board {
    const char* name;
    std::int64_t cores, memory_mb;
    const char* core;
    const char* power;  // "": no power sensor
  };
  const Board boards[] = {
      {"raspberry-pi-4", 4, 1024, "Cortex-A72", ""},       {"raspberry-pi-5", 4, 1024, "Cortex-A76", "pmic-sum"},
      {"jetson-nano", 4, 2048, "Cortex-A57", "rail"},      {"jetson-orin-nano", 6, 4096, "Cortex-A78AE", "rail"},
      {"jetson-orin-nx", 6, 8192, "Cortex-A78AE", "rail"}, {"jetson-agx-orin", 8, 32768, "Cortex-A78AE", "rail"},
  };
  for (const Board& board : boards) {
    SCOPED_TRACE(board.name);
    const DeviceProfile profile = load(board.name);
    EXPECT_EQ(profile.cores, board.cores);
    EXPECT_EQ(profile.memory_mb, board.memory_mb);
    EXPECT_THAT(profile.description, HasSubstr(board.core));
    const auto power = std::ranges::find_if(
        profile.sensors, [](const std::string& sensor) { return sensor == "pmic-sum" || sensor == "rail"; });
    EXPECT_EQ(power == profile.sensors.end() ? "" : *power, board.power);
  }
  const DeviceProfile local = load("local");
  EXPECT_EQ(local.cores, 0);
  EXPECT_EQ(local.memory_mb, 0);
  EXPECT_EQ(local.deploy_threads, 1);
  EXPECT_EQ(local.deploy_precision, "fp32");
  EXPECT_EQ(local.latency_budget_ms, 0);
}

// The keys are asked of the reader itself: it lists them when it finds one that is like none of them.
TEST_F(Profiles, ReadmeDocumentsEveryKeyAndEveryProfile) {
  const auto readme = read_text(kSource / "profiles/README.md");
  ASSERT_TRUE(readme) << readme.error().message;
  const TemporaryFolder folder;
  std::set<std::string> keys;
  for (const std::string table : {"device", "deploy", "budget"}) {
    EXPECT_THAT(*readme, HasSubstr("`[" + table + "]`"));
    const auto profile =
        load_profile(folder.write("odd.toml", "[" + table + "]\nqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq = 1\n").string());
    ASSERT_FALSE(profile);
    const std::string& message = profile.error().message;
    const std::size_t list = message.find("known: ", message.find("is not known") + 12);
    ASSERT_NE(list, std::string::npos) << message;
    for (std::size_t begin = list + 7; begin < message.size();) {
      const std::size_t end = std::min(message.find(", ", begin), message.size());
      keys.insert(message.substr(begin, end - begin));
      begin = end + 2;
    }
  }
  EXPECT_EQ(keys.size(), 10U);
  for (const std::string& key : keys) EXPECT_THAT(*readme, HasSubstr("| `" + key + "` |"));
  for (const std::string& name : profile_names()) EXPECT_THAT(*readme, HasSubstr("| `" + name + "` |"));
}

TEST_F(Profiles, AMisspeltNameGetsTheNearest) {
  const auto profile = load_profile("rasberry-pi-5");
  ASSERT_FALSE(profile);
  EXPECT_EQ(profile.error().exit_code, ExitCode::usage);
  EXPECT_THAT(profile.error().message, HasSubstr("there is no device profile 'rasberry-pi-5'"));
  EXPECT_THAT(profile.error().message, HasSubstr("did you mean 'raspberry-pi-5'?"));
}

TEST_F(Profiles, AnUnknownNameGetsTheList) {
  const auto profile = load_profile("toaster");
  ASSERT_FALSE(profile);
  EXPECT_THAT(profile.error().message, HasSubstr("known: jetson-agx-orin, jetson-nano"));
  EXPECT_THAT(profile.error().message, HasSubstr("raspberry-pi-5"));
}

TEST_F(Profiles, OfOnesOwnAreReadFromAPath) {
  const TemporaryFolder folder;
  const auto file =
      folder.write("shelf-board.toml",
                   "[device]\ndescription = \"Shelf\"\ncores = 2\nmemory_mb = 512\nsensors = [\"thermal\"]\n"
                   "providers = [\"xnnpack\", \"cpu\"]\n[deploy]\nprovider = \"xnnpack\"\n"
                   "precision = \"int8\"\nthreads = 2\n[budget]\nlatency_ms = 4\nmemory_share = 0.75\n");
  const DeviceProfile profile = load(file.string());
  EXPECT_EQ(profile.name, "shelf-board");
  EXPECT_EQ(profile.description, "Shelf");
  EXPECT_EQ(profile.cores, 2);
  EXPECT_EQ(profile.memory_mb, 512);
  EXPECT_EQ(profile.memory_budget, 0.75);
  EXPECT_THAT(profile.sensors, ElementsAre("thermal"));
  EXPECT_THAT(profile.providers, ElementsAre("xnnpack", "cpu"));
  EXPECT_EQ(profile.deploy_provider, "xnnpack");
  EXPECT_EQ(profile.deploy_precision, "int8");
  EXPECT_EQ(profile.deploy_threads, 2);
  EXPECT_EQ(profile.latency_budget_ms, 4);
}

TEST_F(Profiles, AreLookedUpInTheFolderOfTheEnvironment) {
  const TemporaryFolder folder;
  folder.write("own.toml", "[device]\ncores = 3\n");
  folder.write("notes.txt", "");
  look_in(folder.path());
  EXPECT_THAT(profile_names(), ElementsAre("own"));
  EXPECT_EQ(load("own").cores, 3);
  look_in(folder.path() / "absent");
  EXPECT_TRUE(profile_names().empty());
  EXPECT_FALSE(load_profile("own"));
}

struct BadProfile {
  const char* name;
  const char* text;
  const char* message;
};

// Names the case in a failure and in ctest instead of the address of its text.
void PrintTo(const BadProfile& bad, std::ostream* out) {
  *out << bad.name;
}

const BadProfile kBad[] = {
    {"MisspeltKey", "[device]\ncorse = 4\n",
     "odd.toml:2: key 'device.corse' is not known; did you mean 'device.cores'?"},
    {"MisspeltTable", "[devise]\ncores = 4\n", "odd.toml:1: 'devise' is not known; did you mean 'device'?"},
    {"WrongType", "[device]\nsensors = \"thermal\"\n",
     "odd.toml:2: device.sensors: expected a list of strings, got a string"},
    {"TooMany", "[device]\ncores = 2000\n", "odd.toml:2: device.cores: 2000 is outside 0 .. 1024"},
    {"NegativeMemory", "[device]\nmemory_mb = -1\n",
     "odd.toml:2: device.memory_mb: -1 is outside 0 .. 9223372036854775807"},
    {"NoThread", "[deploy]\nthreads = 0\n", "odd.toml:2: deploy.threads: 0 is outside 1 .. 1024"},
    {"UnknownPrecision", "[deploy]\nprecision = \"fp64\"\n",
     "odd.toml:2: deploy.precision: 'fp64' is not known; did you mean 'fp32'?"},
    {"MoreThanAllOfTheMemory", "[budget]\nmemory_share = 1.5\n",
     "odd.toml:2: budget.memory_share: 1.5 is outside 0.001 .. 1"},
};

class BadProfileTest : public ::testing::TestWithParam<BadProfile> {};

TEST_P(BadProfileTest, IsRefusedWithFileLineAndKey) {
  const TemporaryFolder folder;
  const auto profile = load_profile(folder.write("odd.toml", GetParam().text).string());
  ASSERT_FALSE(profile) << "accepted:\n" << GetParam().text;
  EXPECT_EQ(profile.error().exit_code, ExitCode::usage);
  EXPECT_EQ(folder.without_path(profile.error().message), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(OfAPath, BadProfileTest, ::testing::ValuesIn(kBad),
                         [](const auto& test) { return test.param.name; });

TEST(BadProfile, APathWithoutAFileIsNamed) {
  const TemporaryFolder folder;
  const auto profile = load_profile((folder.path() / "absent.toml").string());
  ASSERT_FALSE(profile);
  EXPECT_EQ(folder.without_path(profile.error().message), "absent.toml: cannot read: No such file or directory");
}

}  // namespace
}  // namespace finch::controller
