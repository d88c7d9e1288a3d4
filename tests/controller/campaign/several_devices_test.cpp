// One campaign on several devices: measured on each, judged by each or by the worst.
#include <gmock/gmock.h>

#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using protocol::Job;
using testing::Contains;
using testing::HasSubstr;

constexpr const char* kTwo = "[[device]]\nname = \"pi\"\n[budget]\nevaluations = 8\n[finalists]\ncount = 3\n";

class SeveralDevicesTest : public testing::Test, protected CampaignFixture {
 protected:
  SeveralDevicesTest() { farm.connect_another("pi", 5); }
  static std::string two_and(const std::string& tables) { return kTwo + tables; }
};

TEST_F(SeveralDevicesTest, EveryCandidateIsMeasuredOnEachAndEveryFileToo) {
  const CampaignResult result = finish("run", config(two_and("[search]\npopulation = 4\n")));
  for (const CandidatePoint& candidate : result.candidates) {
    ASSERT_EQ(candidate.latency_by_device_ms.size(), 2u);
    EXPECT_NEAR(candidate.latency_by_device_ms.at("pi"), 5 * candidate.latency_by_device_ms.at("local"), 1e-9);
    EXPECT_EQ(candidate.latency_ms, candidate.latency_by_device_ms.at("pi"));  // the worst
  }
  ASSERT_FALSE(result.models.empty());
  for (const FrontModel& model : result.models) {
    for (const ModelFile& file : model.files) {
      ASSERT_EQ(file.measurements.size(), 2u);
      EXPECT_EQ(file.measurements[0].device, "local");
      EXPECT_EQ(file.measurements[1].device, "pi");
      EXPECT_NE(file.measurements[0].raw, file.measurements[1].raw);
      EXPECT_TRUE(std::filesystem::exists(folder("run") / *file.measurements[1].raw));
    }
    EXPECT_THAT(model.notes, Contains(HasSubstr("int8 does not pay on pi")));
  }
  EXPECT_EQ(farm.count(Job::kExportRandom), 8u);  // one file for both
  EXPECT_EQ(farm.count(Job::kMeasure), 2 * (8u + 3 * 2));
  EXPECT_EQ(farm.count(Job::kEvaluate), 2 * 3u * 2);  // every device runs every file
}

TEST_F(SeveralDevicesTest, ObjectivesOfADeviceAndOfTheWorst) {
  auto run = create("run", config(two_and("[search]\npopulation = 4\n"
                                          "objectives = [\"accuracy\", \"latency\", \"latency@local\"]\n")));
  ASSERT_TRUE(drive(*run));
  for (const Event& event : events("run")) {
    if (event.type != "told") continue;
    const auto objectives = event.data.at("objectives").get<std::vector<double>>();
    ASSERT_EQ(objectives.size(), 3u);
    EXPECT_NEAR(objectives[1], 5 * objectives[2], 1e-9);
  }
}

TEST_F(SeveralDevicesTest, TooSlowAnywhereIsTooSlow) {
  farm.connect_another("orin", 0.1);
  const CampaignResult result = finish(
      "run", config("latency_ms = 50.0\n[[device]]\nname = \"pi\"\nlatency_ms = 4.0\n[[device]]\nname = \"orin\"\n"
                    "[constraints]\nlatency_ms = 100.0\n[budget]\nevaluations = 6\n[finalists]\ncount = 2\n"));
  std::size_t dropped = 0;
  for (const CandidatePoint& candidate : result.candidates) {
    EXPECT_EQ(candidate.outcome == "evaluated", candidate.latency_by_device_ms.at("pi") <= 4.0);
    dropped += candidate.outcome == "too slow";
  }
  EXPECT_GT(dropped, 0u);
}

TEST_F(SeveralDevicesTest, ItWaitsForEveryDeviceAndResumes) {
  auto settings = config(two_and("[[device]]\nname = \"late\"\n"));
  auto run = create("run", settings);
  EXPECT_FALSE(drive(*run, 50));  // nothing to do before it is there
  run.reset();
  farm.connect_another("late", 2);
  run = open("run");
  const auto driven = drive(*run);
  ASSERT_TRUE(driven) << driven.error().message;
  EXPECT_EQ(run->result()->models.front().files.front().measurements.size(), 3u);
  run.reset();
  EXPECT_TRUE(open("run")->finished());
}

}  // namespace
}  // namespace finch::controller
