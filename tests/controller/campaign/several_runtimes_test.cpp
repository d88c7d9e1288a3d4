// Finalists with several runtimes, and the accuracy of deployed files against what it should be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controller/campaign/deployed_kind.hpp"
#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using protocol::Job;
using testing::AllOf;
using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class SeveralRuntimes : public testing::Test, protected CampaignFixture {
 protected:
  SeveralRuntimes() {
    for (const char* name : {"openvino", "litert"}) {
      auto& runtime = *farm.device.add_runtimes();
      runtime.set_name(name);
      runtime.set_version("1.0");
      runtime.add_providers("cpu");
    }
    farm.connect();
  }
  CampaignConfig with(const std::string& finalists, const std::string& more = "") const {
    return config("[budget]\nevaluations = 8\n[search]\npopulation = 4\n[finalists]\ncount = 2\n" + finalists + more);
  }
};

TEST_F(SeveralRuntimes, EachMeasuresEveryFinalist) {
  const CampaignResult result = finish("run", with("runtimes = [\"openvino\", \"litert\"]\n"));
  ASSERT_FALSE(result.models.empty());
  for (const FrontModel& model : result.models) {
    ASSERT_THAT(model.files, SizeIs(4));  // two precisions, two formats
    for (const ModelFile& file : model.files) {
      EXPECT_TRUE(std::filesystem::exists(folder("run") / file.path)) << file.path;
      std::vector<std::string> runtimes;
      for (const MeasurementInfo& measurement : file.measurements) {
        runtimes.push_back(measurement.deploy.runtime);
        EXPECT_EQ(measurement.artifact_sha256, file.sha256);
        EXPECT_TRUE(std::filesystem::exists(folder("run") / *measurement.raw));
      }
      if (file.path.ends_with(".tflite")) {
        EXPECT_THAT(runtimes, ElementsAre("litert"));
      } else {
        EXPECT_THAT(runtimes, ElementsAre("onnxruntime", "openvino"));
      }
      EXPECT_TRUE(file.accuracy);
    }
    EXPECT_THAT(model.notes, Contains(HasSubstr("fastest here: openvino with fp32")));
  }
}

TEST_F(SeveralRuntimes, TheSearchMayUseAnother) {
  std::set<std::string> formats;
  farm.tamper = [&](const Job& job, protocol::JobResult&) {
    if (job.has_measure()) {
      EXPECT_EQ(job.measure().deploy().runtime(), "litert");
    }
    if (job.has_export_random()) formats.insert(job.export_random().format());
  };
  const CampaignResult result = finish("run", with("", "[deploy]\nruntime = \"litert\"\n"));
  EXPECT_THAT(formats, ElementsAre("tflite"));
  for (const FrontModel& model : result.models) {
    for (const ModelFile& file : model.files) EXPECT_THAT(file.path, testing::EndsWith(".tflite"));
  }
}

TEST_F(SeveralRuntimes, EachMeasuresEveryCandidateWhereAsked) {
  const CampaignResult result =
      finish("run", with("runtimes = [\"openvino\", \"litert\"]\n", "[measure]\nevery_runtime = true\n"));
  int screens = 0;
  for (const Event& event : events("run")) {
    if (event.type != "screened") continue;
    ++screens;
    const auto& latencies = event.data.at("latency_ms");
    ASSERT_EQ(latencies.size(), 3U);
    EXPECT_LT(latencies.at("openvino"), latencies.at("onnxruntime"));
    EXPECT_EQ(event.data.at("result").at("deploy").at("runtime"), "openvino");
    EXPECT_EQ(event.data.at("result").at("latencyMedianMs"), latencies.at("openvino"));
  }
  EXPECT_GE(screens, 8);
  for (const FrontModel& model : result.models) EXPECT_THAT(model.notes, Contains(HasSubstr("fastest here: openvino")));
}

TEST_F(SeveralRuntimes, OneThatTheDeviceLacksIsNamedWithItsCommand) {
  farm.device.clear_runtimes();
  farm.device.add_runtimes()->set_name("onnxruntime");
  farm.device.mutable_runtimes(0)->add_providers("cpu");
  farm.connect();
  auto run = create("run", with("runtimes = [\"openvino\"]\n"));
  const auto driven = drive(*run);
  ASSERT_FALSE(driven);
  EXPECT_THAT(driven.error().message,
              AllOf(HasSubstr("device 'local' has no openvino"), HasSubstr("scripts/install-runtime openvino")));
}

TEST_F(SeveralRuntimes, AFileThatComputesSomethingElseFailsTheFinalist) {
  farm.tamper = [](const Job& job, protocol::JobResult& result) {
    const bool other = job.has_evaluate() && job.evaluate().deploy().runtime() == "openvino";
    if (other && job.evaluate().deploy().precision() == "fp32") result.mutable_evaluation()->set_top1(0.5);
  };
  auto run = create("run", with("runtimes = [\"openvino\"]\n"));
  const auto driven = drive(*run);
  ASSERT_FALSE(driven);  // every finalist fails
  EXPECT_THAT(driven.error().message, AllOf(HasSubstr("fp32@openvino on local gives 50.00 % of 200 images instead of"),
                                            HasSubstr("finalists.accuracy_tolerance = 0.5")));
}

TEST_F(SeveralRuntimes, TheToleranceIsTheCampaigns) {
  farm.tamper = [](const Job& job, protocol::JobResult& result) {
    if (!job.has_evaluate() || job.evaluate().deploy().precision() != "fp32") return;
    result.mutable_evaluation()->set_top1(result.evaluation().top1() - 0.03);
  };
  auto strict = create("strict", with(""));
  EXPECT_FALSE(drive(*strict));
  EXPECT_EQ(finish("lenient", with("accuracy_tolerance = 5\n")).status, "finished");
}

TEST_F(SeveralRuntimes, EveryDeviceTestsTheFile) {
  farm.connect_another("pi", 3);
  const CampaignConfig two = with("", "[[device]]\nname = \"pi\"\n");
  std::map<std::string, int> tested;
  farm.tamper = [&](const Job& job, protocol::JobResult& result) {
    if (!job.has_evaluate()) return;
    ++tested[job.evaluate().device()];
    // A processor whose integer kernels are wrong.
    if (job.evaluate().device() == "pi" && job.evaluate().deploy().precision() == "int8") {
      result.mutable_evaluation()->set_top1(0.1);
    }
  };
  auto run = create("run", two);
  const auto driven = drive(*run);
  ASSERT_FALSE(driven);
  EXPECT_THAT(driven.error().message, HasSubstr("int8 on pi gives 10.00 %"));
  EXPECT_GT(tested["pi"], 0);
}

TEST(AccuracyDifference, IsBeyondToleranceAndRounding) {
  EXPECT_EQ(accuracy_difference(0.90, 0.90, 10'000, 0.5), "");
  EXPECT_EQ(accuracy_difference(0.896, 0.90, 10'000, 0.5), "");
  EXPECT_THAT(accuracy_difference(0.89, 0.90, 10'000, 0.5), HasSubstr("89.00 % of 10000 images instead of 90.00 %"));
  EXPECT_THAT(accuracy_difference(0.91, 0.90, 10'000, 0.5), HasSubstr("91.00 %"));
  EXPECT_EQ(accuracy_difference(0.95, 0.98, 100, 0.5), "");  // three images
  EXPECT_NE(accuracy_difference(0.94, 0.98, 100, 0.5), "");
  EXPECT_EQ(accuracy_difference(272.0 / 300, 276.0 / 300, 300, 0.5), "");  // four of few
  EXPECT_NE(accuracy_difference(271.0 / 300, 276.0 / 300, 300, 0.5), "");
}

TEST(DeployedKind, IsReadAsWritten) {
  DeployConfig deploy;
  EXPECT_EQ(deployed_kind("int8", deploy).runtime, "onnxruntime");
  EXPECT_EQ(deployed_kind("int8@litert", deploy).runtime, "litert");
  EXPECT_EQ(kind_name({"int8", "litert"}, deploy), "int8@litert");
  EXPECT_EQ(kind_name({"int8", "onnxruntime"}, deploy), "int8");
}

}  // namespace
}  // namespace finch::controller
