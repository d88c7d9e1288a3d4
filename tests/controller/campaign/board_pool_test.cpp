// Boards of one profile that share a campaign's measuring: 5 % apart, upgraded half way, coming and going.
#include "controller/campaign/board_pool.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "controller/campaign/measuring.hpp"
#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using protocol::Job;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

constexpr const char* kPool =
    "[[device]]\nname = \"pi\"\nboards = [\"pi-1\", \"pi-2\"]\n[budget]\nevaluations = 8\n"
    "[finalists]\ncount = 3\n[search]\npopulation = 4\n";

class BoardPoolTest : public testing::Test, protected CampaignFixture {
 protected:
  BoardPoolTest() {
    farm.connect_another("pi-1", 0.95);
    farm.connect_another("pi-2", 1.05);
  }
  CampaignConfig pool_config() const {
    CampaignConfig all = config(kPool);
    std::erase_if(all.devices, [](const DeviceConfig& device) { return !device.is_pool(); });
    return all;
  }
  std::map<std::string, std::size_t> measured_on() const {
    std::map<std::string, std::size_t> counts;
    for (const Job& job : farm.served) {
      if (job.has_measure()) ++counts[job.measure().device()];
    }
    return counts;
  }
};

TEST(GeometricMedianTest, IsTheMiddleOfTheLogarithms) {
  EXPECT_DOUBLE_EQ(geometric_median({4}), 4);
  EXPECT_DOUBLE_EQ(geometric_median({8, 2}), 4);
  EXPECT_DOUBLE_EQ(geometric_median({100, 3, 1}), 3);
}

TEST(MeasureParametersMessageTest, HasAFieldForEveryParameterAndNoOther) {
  MeasureOverrides all;
  for (const MeasureParameterRange& range : measure_parameter_ranges()) all.all[range.name] = {range.high};
  const protocol::MeasureParameters message = measure_parameters(all, "screen");
  std::vector<const google::protobuf::FieldDescriptor*> set;
  protocol::MeasureParameters::GetReflection()->ListFields(message, &set);
  EXPECT_EQ(set.size(), all.all.size());
  EXPECT_EQ(protocol::MeasureParameters::descriptor()->field_count(), static_cast<int>(all.all.size()));
}

TEST_F(BoardPoolTest, ParametersOfTheProfileTravelInTheJobs) {
  CampaignConfig set = pool_config();
  set.devices.front().measure.by_tier["certify"] = {{"launches", {4, 8}}};
  finish("run", set);
  for (const Job& job : farm.served) {
    if (!job.has_measure()) continue;
    EXPECT_EQ(job.measure().parameters().launches_size(), job.measure().tier() == "certify" ? 2 : 0);
    EXPECT_EQ(job.measure().has_parameters(), job.measure().tier() == "certify");
  }
}

TEST_F(BoardPoolTest, TheSearchComparesWhatIsFreeOfTheBoards) {
  const CampaignResult result = finish("run", pool_config());
  const double typical = std::sqrt(0.95 * 1.05);
  std::size_t candidates = 0;
  for (const CandidatePoint& candidate : result.candidates) {
    if (!candidate.latency_ms) continue;
    ++candidates;
    // As the simulated board of slowness 1 would take, times the typical board's.
    EXPECT_NEAR(*candidate.latency_ms, typical * (0.01 + 1e-6 * static_cast<double>(candidate.macs)), 1e-9);
  }
  EXPECT_EQ(candidates, 8U);
  const auto counts = measured_on();
  EXPECT_GT(counts.at("pi-1"), 6U) << "both work, and not for the finalists alone";
  EXPECT_GT(counts.at("pi-2"), 6U);
  EXPECT_EQ(farm.count(Job::kCalibrate), 2U);
  EXPECT_THAT(result.notes, Contains(HasSubstr("pi is a pool of pi-1 (-4.9 %), pi-2 (+5.1 %)")));
  EXPECT_TRUE(result.pooled);
}

TEST_F(BoardPoolTest, FinalistsAreCertifiedOnTwoBoards) {
  farm.connect_another("pi-3", 1.0);
  CampaignConfig three = pool_config();
  three.devices.front().boards.push_back("pi-3");
  const CampaignResult result = finish("run", three);
  ASSERT_FALSE(result.models.empty());
  for (const FrontModel& model : result.models) {
    for (const ModelFile& file : model.files) {
      ASSERT_THAT(file.measurements, SizeIs(2));
      const MeasurementInfo &one = file.measurements[0], &other = file.measurements[1];
      EXPECT_NE(one.device, other.device);
      EXPECT_NE(one.raw, other.raw);
      EXPECT_NE(one.median_ms, other.median_ms);
      ASSERT_TRUE(one.pooled && other.pooled);
      EXPECT_NEAR(one.pooled->median_ms, other.pooled->median_ms, 1e-9);
      EXPECT_NEAR(one.median_ms, one.pooled->median_ms * (1 + one.pooled->effect), 1e-9);
    }
    EXPECT_THAT(model.notes, Not(Contains(HasSubstr("already taken out"))));
  }
}

TEST_F(BoardPoolTest, BoardsThatDisagreeAreNamed) {
  farm.tamper = [](const Job& job, protocol::JobResult& result) {
    if (!job.has_measure() || job.measure().device() != "pi-2" || job.measure().tier() != "certify") return;
    auto& measurement = *result.mutable_measurement();
    measurement.set_reference_ratio_median(1.04 * measurement.reference_ratio_median());
  };
  const CampaignResult result = finish("run", pool_config());
  ASSERT_FALSE(result.models.empty());
  EXPECT_THAT(result.models.front().notes, Contains(HasSubstr("on pi-2 it is 4.0 % slower than on pi-1")));
}

TEST_F(BoardPoolTest, WaitsAWhileForAllOfThem) {
  CampaignConfig late = pool_config();
  late.devices.front().boards.push_back("late");
  auto run = create("run", late);
  EXPECT_FALSE(drive(*run));
  EXPECT_EQ(farm.count(Job::kCalibrate), 0U);
  farm.connect_another("late", 1.0);
  EXPECT_TRUE(drive(*run));
  EXPECT_EQ(farm.count(Job::kCalibrate), 3U);
}

TEST_F(BoardPoolTest, BoardsOfAnotherProfileAreRefused) {
  CampaignConfig mixed = pool_config();
  mixed.devices.front().profile = "raspberry-pi-5";
  auto run = create("run", mixed);
  const auto driven = drive(*run);
  ASSERT_FALSE(driven);
  EXPECT_THAT(driven.error().message, HasSubstr("name boards of one profile"));
}

TEST_F(BoardPoolTest, AnUpgradeHalfWayOpensANewEpochAndIsNeverMixedSilently) {
  std::size_t measured = 0;
  farm.tamper = [&](const Job& job, protocol::JobResult&) {
    if (job.has_measure() && ++measured == 4) farm.upgrade("pi-2", "state 2 of pi-2", "6.6.1");
  };
  auto run = create("run", pool_config());
  const auto driven = drive(*run);
  ASSERT_TRUE(driven) << driven.error().message;
  const CampaignResult result = run->result().value();
  EXPECT_THAT(result.notes, Contains(HasSubstr("device pi-2 changed after")));
  EXPECT_THAT(result.notes, Contains(HasSubstr("kernel  -> 6.6.1")));
  EXPECT_EQ(farm.count(Job::kCalibrate), 3U) << "the upgraded board is calibrated anew";
  for (const Event& event : events("run")) {
    if (event.type != "screened" && event.type != "finalist_measured") continue;
    const auto& taken = event.data.at("result");
    if (taken.at("device") != "pi-2") continue;
    EXPECT_THAT(taken.at("deviceStateHash").get<std::string>(), HasSubstr("of pi-2"));
  }
  // No result of the new state was kept under the old one.
  for (const FrontModel& model : result.models) {
    for (const ModelFile& file : model.files) {
      for (const MeasurementInfo& m : file.measurements) {
        if (m.device == "pi-2") EXPECT_EQ(m.epoch, std::string("state 2 of pi-2").substr(0, 16));
      }
    }
  }
  run.reset();
  EXPECT_EQ(open("run")->result()->models.size(), result.models.size());
}

TEST_F(BoardPoolTest, FinalistsOfTheEarlierEpochAreMeasuredAnewOnASingleDeviceToo) {
  bool upgraded = false;
  farm.tamper = [&](const Job& job, protocol::JobResult&) {
    if (job.has_measure() && job.measure().tier() == "certify" && !std::exchange(upgraded, true))
      farm.upgrade("local", "state 2", "6.6.1");
  };
  const CampaignResult result = finish("run", config());
  EXPECT_THAT(result.notes, Contains(HasSubstr("a new epoch")));
  ASSERT_FALSE(result.models.empty());
  for (const FrontModel& model : result.models) {
    for (const ModelFile& file : model.files) {
      ASSERT_THAT(file.measurements, SizeIs(1));
      EXPECT_EQ(file.measurements.front().epoch, "state 2");
    }
  }
}

}  // namespace
}  // namespace finch::controller
