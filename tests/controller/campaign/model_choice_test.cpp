#include "controller/campaign/model_choice.hpp"

#include <gmock/gmock.h>

#include "tests/controller/report/sample_result.hpp"

namespace finch::controller {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// The sample's six models, c001 the fastest, each tested on the same 1000 images: model i tells the first
// 850 + 11 i right, its int8 file the first 848 + 11 i.
CampaignResult tested() {
  CampaignResult result = sample_result();
  for (std::size_t i = 0; i < result.models.size(); ++i) {
    for (ModelFile& file : result.models[i].files) {
      const std::size_t right = 850 + 11 * i - (file.precision == "int8" ? 2 : 0);
      file.accuracy->right.assign(1000, false);
      std::fill_n(file.accuracy->right.begin(), right, true);
      file.accuracy->top1 = static_cast<double>(right) / 1000;
    }
  }
  return result;
}

TEST(ModelChoiceTest, TheFastestThatIsNotToldFromTheMostAccurate) {
  const CampaignResult result = tested();
  const auto choice = choose_model(result, {});
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->most_accurate.name(), "c006 fp32");
  // 2 images less: not told apart. 11 and 13 less: 11 of 11 against it.
  ASSERT_THAT(choice->tied, SizeIs(1));
  EXPECT_EQ(choice->tied[0].file.name(), "c006 int8");
  EXPECT_NEAR(choice->tied[0].p, 0.25, 1e-9);  // 2 against 0; the greatest p stands for itself
  EXPECT_EQ(choice->chosen.name(), "c006 int8");
  EXPECT_THAT(choice->excluded, IsEmpty());
  EXPECT_THAT(choice->explanation, Contains(HasSubstr("Not told from it by 10000 test images")));
  EXPECT_THAT(choice->explanation.back(), HasSubstr("x as fast as c006 fp32"));
}

TEST(ModelChoiceTest, OfSeveralRuntimesTheFastestCounts) {
  CampaignResult result = tested();
  const double before = latency_of(result.models[5].files[0], "local");
  for (FrontModel& model : result.models) {
    for (ModelFile& file : model.files) {
      MeasurementInfo other = file.measurements.front();
      other.deploy.runtime = "openvino";
      other.median_ms /= 2;
      other.ci_low_ms /= 2;
      other.ci_high_ms /= 2;
      file.measurements.push_back(other);
    }
  }
  EXPECT_DOUBLE_EQ(latency_of(result.models[5].files[0], "local"), before / 2);
  const auto choice =
      choose_model(result, {.latency_ms = 0.75 * before, .memory_bytes = {}, .accuracy = {}, .device = "local"});
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->most_accurate.name(), "c006 fp32");
  EXPECT_THAT(choice->explanation, Contains(HasSubstr("Fastest on local with openvino: ")));
}

TEST(ModelChoiceTest, LimitsExcludeWithTheirReasons) {
  const CampaignResult result = tested();
  const double latency = result.models[2].files[0].measurements[0].ci_high_ms;
  const auto choice =
      choose_model(result, {.latency_ms = latency, .memory_bytes = {}, .accuracy = 0.855, .device = "local"});
  ASSERT_TRUE(choice) << choice.error().message;
  EXPECT_EQ(choice->most_accurate.name(), "c003 fp32");
  EXPECT_EQ(choice->chosen.name(), "c003 int8");
  EXPECT_THAT(choice->excluded, SizeIs(8));  // c001 by accuracy, c004 to c006 by latency
  for (const ExcludedFile& excluded : choice->excluded) {
    ASSERT_THAT(excluded.reasons, SizeIs(1));
    EXPECT_THAT(excluded.reasons[0], excluded.file.model->id == "c001" ? HasSubstr("the limit is 85.50 %")
                                                                       : HasSubstr("] on local, the limit is"))
        << excluded.file.name();
  }
  EXPECT_THAT(choice->explanation, Contains("Its measurement on local is DEGRADED: foreign CPU 2.1 %."));
}

TEST(ModelChoiceTest, ALatencyWhoseIntervalReachesOverTheLimitBreaksIt) {
  const CampaignResult result = tested();
  const MeasurementInfo& m = result.models[0].files[0].measurements[0];
  const auto choice = choose_model(
      result, {.latency_ms = (m.median_ms + m.ci_high_ms) / 2, .memory_bytes = {}, .accuracy = {}, .device = ""});
  ASSERT_FALSE(choice);  // int8 of the first is slower
  EXPECT_THAT(choice.error().message, HasSubstr("no file of the front keeps the limits; the nearest is c001 fp32"));
  EXPECT_EQ(choice.error().exit_code, ExitCode::failed);
}

TEST(ModelChoiceTest, AnotherMetricIsTiedByItsInterval) {
  CampaignResult result = tested();
  result.objectives.front().name = "worst_class_recall";
  for (FrontModel& model : result.models) {
    for (ModelFile& file : model.files) {
      for (MetricInfo& metric : file.accuracy->metrics) {
        if (metric.name != "worst_class_recall") continue;
        metric.value = model.id == "c001" ? 0.66 : model.id == "c004" ? 0.7 : 0.5;
        metric.ci_low = metric.value - 0.05;
      }
    }
  }
  const auto choice = choose_model(result, {});
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->most_accurate.model->id, "c004");
  EXPECT_EQ(choice->chosen.name(), "c001 fp32");
}

TEST(ModelChoiceTest, MistakesAreNamed) {
  const CampaignResult result = tested();
  const auto device = choose_model(result, {.latency_ms = {}, .memory_bytes = {}, .accuracy = {}, .device = "pi"});
  ASSERT_FALSE(device);
  EXPECT_EQ(device.error().message, "nothing was measured on 'pi'; the campaign's devices: local");
  EXPECT_EQ(device.error().exit_code, ExitCode::usage);
  EXPECT_THAT(choose_model({}, {}).error().message, HasSubstr("no tested model"));
}

// Whatever the limits: what is chosen keeps them, and nothing that keeps them is more accurate beyond the test's reach.
TEST(ModelChoiceTest, KeepsEveryLimit) {
  const CampaignResult result = tested();
  for (double latency = 0.04; latency < 1; latency *= 1.1) {
    const auto choice = choose_model(result, {.latency_ms = latency, .memory_bytes = {}, .accuracy = {}, .device = ""});
    if (!choice) continue;
    EXPECT_LE(choice->chosen.file->measurements[0].ci_high_ms, latency);
    EXPECT_LE(choice->chosen.file->accuracy->top1, choice->most_accurate.file->accuracy->top1);
    EXPECT_LE(latency_of(*choice->chosen.file, ""), latency_of(*choice->most_accurate.file, ""));
  }
}

}  // namespace
}  // namespace finch::controller
