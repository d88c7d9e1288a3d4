// A front beside what it is compared with: networks that people designed, and files of the user's.
#include <gmock/gmock.h>

#include <fstream>

#include "controller/campaign/baseline_comparison.hpp"
#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

ModelFile file_of(const char* precision, double top1, double median_ms) {
  ModelFile file;
  file.precision = precision;
  file.accuracy = AccuracyInfo{.top1 = top1, .samples = 1000, .split = "test"};
  MeasurementInfo measurement;
  measurement.median_ms = median_ms;
  measurement.ci_low_ms = 0.98 * median_ms;
  measurement.ci_high_ms = 1.02 * median_ms;
  file.measurements.push_back(measurement);
  return file;
}

FrontModel model_of(const char* id, std::vector<ModelFile> files) {
  FrontModel model;
  model.id = id;
  model.files = std::move(files);
  return model;
}

BaselineInfo baseline_of(const char* name, double top1, double median_ms) {
  BaselineInfo baseline;
  baseline.name = name;
  baseline.file = file_of("fp32", top1, median_ms);
  return baseline;
}

const std::vector<FrontModel> kFront = {
    model_of("c001", {file_of("fp32", 0.90, 1.0), file_of("int8", 0.89, 0.5)}),
    model_of("c002", {file_of("fp32", 0.93, 4.0), file_of("int8", 0.92, 3.0)}),
};

TEST(BaselineComparisonTest, TheRivalIsTheFastestFileThatIsAtLeastAsAccurate) {
  std::vector<BaselineInfo> baselines = {baseline_of("a", 0.89, 2.0), baseline_of("b", 0.895, 2.0),
                                         baseline_of("c", 0.92, 3.01), baseline_of("d", 0.94, 9.0)};
  const std::string headline = compare_with_baselines(kFront, baselines);
  EXPECT_EQ(baselines[0].rival + " " + baselines[0].rival_precision, "c001 int8");
  EXPECT_DOUBLE_EQ(baselines[0].speedup, 4);
  EXPECT_EQ(baselines[1].rival + " " + baselines[1].rival_precision, "c001 fp32");
  EXPECT_EQ(baselines[2].rival + " " + baselines[2].rival_precision, "c002 int8");
  EXPECT_FALSE(baselines[2].faster) << "the intervals overlap";
  EXPECT_THAT(baselines[3].rival, IsEmpty()) << "nothing is as accurate";
  EXPECT_EQ(headline,
            "With at least the same test accuracy the front is 4.00 x faster than a and 2.00 x faster than b. "
            "Nothing on it beats c and d.");
}

TEST(BaselineComparisonTest, SaysWhenNothingBeatsThemAndWhatIsNotKnown) {
  std::vector<BaselineInfo> baselines = {baseline_of("a", 0.95, 0.1), baseline_of("b", 0.5, 0.1)};
  baselines[1].file.accuracy.reset();
  EXPECT_EQ(compare_with_baselines(kFront, baselines),
            "Nothing on the front beats a. No accuracy is known of b on these images.");
  std::vector<BaselineInfo> none;
  EXPECT_THAT(compare_with_baselines(kFront, none), IsEmpty());
}

class BaselineStageTest : public testing::Test, protected CampaignFixture {
 protected:
  // The simulated farm's kind of file.
  std::string write_file(const std::string& name, double macs, double top1) {
    const auto path = folder(name);
    std::ofstream(path) << macs << ' ' << top1 << " fp32";
    return path.string();
  }
  CampaignConfig config_with(const std::string& baselines) const { return config(kSmall + baselines); }
};

TEST_F(BaselineStageTest, AreTrainedMeasuredAndTestedLikeTheFinalists) {
  const CampaignResult result = finish(
      "run", config_with("[[baseline]]\nnetwork = \"mobilenet_v2\"\nwidth = [0.5, 1.0]\n[[baseline]]\nname = \"mine\"\n"
                         "file = \"" +
                         write_file("mine.onnx", 2e6, 0.7) + "\"\n"));
  ASSERT_EQ(result.baselines.size(), 3u);
  EXPECT_EQ(result.baselines[0].name, "mobilenet_v2 x0.5");
  EXPECT_EQ(result.baselines[1].name, "mobilenet_v2 x1");
  EXPECT_EQ(result.baselines[2].name, "mine");
  EXPECT_GT(result.baselines[1].macs, result.baselines[0].macs);
  EXPECT_THAT(result.baselines[0].what, HasSubstr("trained here for 4 epochs"));  // 1 as a candidate, 3 as a finalist
  for (const BaselineInfo& baseline : result.baselines) {
    ASSERT_TRUE(baseline.file.accuracy) << baseline.name;
    EXPECT_EQ(baseline.file.measurements.front().tier, "certify");
    EXPECT_EQ(protocol::sha256_of_file(folder("run") / baseline.file.path).value(), baseline.file.sha256);
    EXPECT_TRUE(std::filesystem::exists(folder("run") / *baseline.file.measurements.front().raw));
  }
  EXPECT_NEAR(result.baselines[2].file.accuracy->top1, 0.695, 1e-9);
  EXPECT_TRUE(result.baselines[2].faster) << "anything on the front is better than this";
  EXPECT_THAT(result.headline, HasSubstr("faster than mine"));
  for (const protocol::Job& job : farm.served) {
    if (!job.has_train_candidate() || job.train_candidate().recipe().epochs() != 4) continue;
    EXPECT_FALSE(job.train_candidate().has_parent_checkpoint()) << "a baseline begins from nothing";
    EXPECT_TRUE(job.train_candidate().has_soft_targets()) << "it learns from the teacher as the finalists do";
  }
}

TEST_F(BaselineStageTest, AFailureIsANoteAndNotTheCampaignsEnd) {
  farm.tamper = [](const protocol::Job& job, protocol::JobResult& result) {
    if (job.has_train_candidate() && job.train_candidate().recipe().epochs() == 4)
      result.mutable_failure()->set_message("the training diverged");
  };
  const CampaignResult result = finish("run", config_with("[[baseline]]\nnetwork = \"shufflenet_v2\"\n"));
  EXPECT_EQ(result.status, "finished");
  EXPECT_THAT(result.baselines, IsEmpty());
  EXPECT_THAT(result.notes, Contains(AllOf(HasSubstr("shufflenet_v2 x1"), HasSubstr("the training diverged"))));
}

TEST_F(BaselineStageTest, AFileForOtherImagesIsMeasuredWithoutAccuracy) {
  farm.tamper = [](const protocol::Job& job, protocol::JobResult& result) {
    if (job.has_evaluate() && job.evaluate().deploy().precision() == "fp32" && result.evaluation().top1() < 0.5)
      result.mutable_failure()->set_message("the model takes 3 x 224 x 224 images, these are 1 x 28 x 28");
  };
  const CampaignResult result =
      finish("run", config_with("[[baseline]]\nfile = \"" + write_file("other.onnx", 1e6, 0.3) + "\"\n"));
  ASSERT_EQ(result.baselines.size(), 1u);
  EXPECT_EQ(result.baselines[0].name, "other.onnx");
  EXPECT_FALSE(result.baselines[0].file.accuracy);
  EXPECT_THAT(result.baselines[0].no_accuracy, HasSubstr("3 x 224 x 224"));
  EXPECT_THAT(result.headline, HasSubstr("No accuracy is known of other.onnx"));
}

TEST_F(BaselineStageTest, AResumeAtAnyEventEndsWithTheSameBaselines) {
  const CampaignConfig campaign = config_with("[[baseline]]\nnetwork = \"mobilenet_v2\"\nwidth = 0.5\n");
  const CampaignResult whole = finish("whole", campaign);
  auto run = create("parts", campaign);
  while (!run->finished()) {
    const auto before = run->recorded();
    while (run->recorded() == before) {
      ASSERT_TRUE(run->step(home, store));
      if (run->recorded() == before) farm.serve_one();
    }
    run.reset();  // as after a kill: nothing is left but the log
    run = open("parts");
  }
  const CampaignResult parts = run->result().value();
  ASSERT_EQ(parts.baselines.size(), 1u);
  EXPECT_EQ(parts.baselines[0].file.sha256, whole.baselines[0].file.sha256);
  EXPECT_EQ(parts.headline, whole.headline);
}

}  // namespace
}  // namespace finch::controller
