// Finalists that are taken through steps of compression before they are certified.
#include <gmock/gmock.h>

#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using protocol::Job;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class FinalistCompressionTest : public testing::Test, protected CampaignFixture {
 protected:
  CampaignConfig with(const std::string& finalists, const std::string& tables = "") const {
    return config(kSmall + finalists + tables);
  }
};

TEST_F(FinalistCompressionTest, WhatPaysIsCertifiedAndWhatDoesNotIsUndoneWithItsReason) {
  // Where the farm is simulated, int8 is slower and every distillation helps.
  const CampaignResult result = finish("run", with("steps = [\"distill\", \"prune=0.25\", \"quantize\"]\n"));
  const CampaignResult plain = finish("plain", config());
  ASSERT_FALSE(result.models.empty());
  for (const FrontModel& model : result.models) {
    ASSERT_EQ(model.files.size(), 1u);  // quantize was undone
    EXPECT_EQ(model.files.front().precision, "fp32");
    EXPECT_EQ(model.files.front().measurements.front().tier, "certify");
    EXPECT_THAT(model.notes, Contains(StartsWith("distill=1 was kept: accuracy")));
    EXPECT_THAT(model.notes, Contains(StartsWith("prune=0.25 was kept: 0.750 times the latency")));
    EXPECT_THAT(model.notes, Contains(StartsWith("quantize was undone: does not pay: 1.100 times the latency")));
    const auto same = std::ranges::find(plain.models, model.genotype, &FrontModel::genotype);
    ASSERT_NE(same, plain.models.end());
    EXPECT_EQ(model.macs, same->macs * 3 / 4);
    EXPECT_EQ(model.parameters, model.macs / 10);
    EXPECT_NE(model.weights_sha256, same->weights_sha256);
    EXPECT_LT(model.files.front().measurements.front().median_ms, same->files.front().measurements.front().median_ms);
    EXPECT_TRUE(std::filesystem::exists(folder("run") / model.files.front().path));
  }
  EXPECT_THAT(types_of(events("run")), Contains("finalist_step"));
}

TEST_F(FinalistCompressionTest, AStepBeginsWhereTheLastKeptOneEnded) {
  finish("run", with("steps = [\"prune=0.9\", \"prune=0.2\"]\nmax_accuracy_drop = 0.005\n"));
  std::size_t undone = 0, kept = 0;
  for (const Event& event : events("run")) {
    if (event.type != "finalist_step") continue;
    const auto& step = event.data.at("step");
    if (event.data.at("type") == "begun" && step.at("step") == "prune=0.2") {
      EXPECT_EQ(step.at("base"), 0);
    }
    if (event.data.at("type") != "decided" || step.at("index") == 0) continue;
    ++(step.at("kept").get<bool>() ? kept : undone);
  }
  EXPECT_EQ(undone, 3u);  // nine tenths of the channels cost 0.9 points
  EXPECT_EQ(kept, 3u);
}

TEST_F(FinalistCompressionTest, WhereInt8IsDeployedQuantizationIsNoChoice) {
  const CampaignResult result = finish("run", with("steps = [\"prune=0.25\"]\n", "[deploy]\nprecision = \"int8\"\n"));
  ASSERT_FALSE(result.models.empty());
  for (const FrontModel& model : result.models) {
    EXPECT_THAT(model.notes, Contains(StartsWith("quantize was kept: int8 is what is deployed")));
    ASSERT_EQ(model.files.size(), 2u);
    EXPECT_EQ(model.files.back().precision, "int8");
  }
}

TEST_F(FinalistCompressionTest, AStepThatFailsIsUndone) {
  farm.tamper = [](const Job& job, protocol::JobResult& result) {
    if (job.has_compress_model()) result.mutable_failure()->set_message("the loss is no number");
  };
  const CampaignResult result = finish("run", with("steps = [\"prune\"]\n"));
  ASSERT_FALSE(result.models.empty());
  EXPECT_THAT(result.models.front().notes, Contains("prune=0.3 was undone: it failed: the loss is no number"));
}

TEST_F(FinalistCompressionTest, AFinalistThatCannotBeReadFailsAlone) {
  bool first = true;
  farm.tamper = [&](const Job& job, protocol::JobResult& result) {
    if (job.has_read_model() && std::exchange(first, false)) result.mutable_failure()->set_message("damaged");
  };
  const CampaignResult result = finish("run", with("steps = [\"prune\"]\n"));
  EXPECT_EQ(result.status, "finished");
  EXPECT_THAT(result.notes, Contains(HasSubstr("failed: damaged")));
}

TEST_F(FinalistCompressionTest, TrainingExportsNoInt8ThatNobodyAskedFor) {
  finish("run", with("steps = [\"prune\"]\n"));
  for (const Job& job : farm.served) {
    if (job.has_train_candidate()) {
      EXPECT_THAT(job.train_candidate().precisions(), Not(Contains("int8")));
    }
  }
}

}  // namespace
}  // namespace finch::controller
