#include <gmock/gmock.h>

#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using protocol::Job;
using testing::Contains;
using testing::HasSubstr;

class SupernetStageTest : public testing::Test, protected CampaignFixture {
 protected:
  static constexpr const char* kTrain = "[train]\nmode = \"supernet\"\nsupernet_epochs = 2.5\n";
  CampaignConfig shared(const std::string& tables = "") const { return config(kSmall + std::string(kTrain) + tables); }
};

TEST_F(SupernetStageTest, IsTrainedOnceAndGivesEveryCandidateItsAccuracy) {
  const CampaignResult result = finish("run", shared("[constraints]\nmacs = 3_000_000\nmemory_mb = 2\n"));
  EXPECT_EQ(result.status, "finished");
  EXPECT_EQ(farm.count(Job::kTrainSupernet), 1u);
  EXPECT_EQ(farm.count(Job::kEvaluateSubnet), 8u);
  EXPECT_EQ(farm.count(Job::kTrainCandidate), 3u);  // the finalists
  for (const Job& job : farm.served) {
    if (!job.has_train_supernet()) continue;
    EXPECT_EQ(job.train_supernet().recipe().epochs(), 2.5);
    EXPECT_EQ(job.train_supernet().limits().macs(), 3e6);
    EXPECT_EQ(job.train_supernet().limits().parameters(), 0);
    EXPECT_EQ(job.train_supernet().limits().peak_activation_bytes(), 2 << 20);
    EXPECT_TRUE(job.train_supernet().has_soft_targets());
    EXPECT_TRUE(job.train_supernet().spread());
  }
  const auto types = types_of(events("run"));
  const auto at = [&](const char* type) { return std::ranges::find(types, type) - types.begin(); };
  EXPECT_LT(at("teacher"), at("supernet"));
  EXPECT_LT(at("supernet"), at("asked"));
}

TEST_F(SupernetStageTest, ItsNetworksAreDrawnAsTheFileSays) {
  finish("run", config(kSmall + std::string(kTrain) + "supernet_sampling = \"sandwich\"\n"));
  const auto job = std::ranges::find_if(farm.served, &Job::has_train_supernet);
  ASSERT_NE(job, farm.served.end());
  EXPECT_FALSE(job->train_supernet().spread());
}

TEST_F(SupernetStageTest, FinalistsGoOnFromTheirSliceOfIt) {
  finish("run", shared());
  for (const Job& job : farm.served) {
    if (!job.has_train_candidate()) continue;
    const auto& genotype = job.train_candidate().genotype();
    const std::string slice = "slice " + search::to_string({genotype.begin(), genotype.end()});
    EXPECT_EQ(job.train_candidate().parent_checkpoint().sha256(), protocol::sha256_hex(slice));
    EXPECT_EQ(job.train_candidate().recipe().epochs(), 3);
  }
}

TEST_F(SupernetStageTest, IsReusedWhereSpaceRecipeDataAndLimitsAreTheSame) {
  finish("first", shared());
  const CampaignResult again = finish("again", shared());
  EXPECT_EQ(farm.count(Job::kTrainSupernet), 1u);
  EXPECT_GT(again.reused_results, 0);
  finish("limited", shared("[constraints]\nmacs = 3_000_000\n"));
  EXPECT_EQ(farm.count(Job::kTrainSupernet), 2u);
}

TEST_F(SupernetStageTest, IsAStageOfItsOwn) {
  const CampaignResult result = finish("run", shared());
  const auto stage = std::ranges::find(result.stages, "supernet", &StageTime::name);
  ASSERT_NE(stage, result.stages.end());
  EXPECT_EQ(stage->waiting_seconds, 0.25);
  EXPECT_THAT(result.notes, Contains(HasSubstr("shared weights")));
}

TEST_F(SupernetStageTest, ThatFailsEndsTheCampaignWithTheReason) {
  farm.tamper = [](const Job& job, protocol::JobResult& result) {
    if (job.has_train_supernet()) result.mutable_failure()->set_message("no network of the space keeps the limits");
  };
  auto run = create("run", shared());
  const auto driven = drive(*run);
  ASSERT_FALSE(driven);
  EXPECT_EQ(driven.error().message, "the supernet: no network of the space keeps the limits");
}

TEST_F(SupernetStageTest, ItsSpeedSaysWhatTheFinalistsWillTake) {
  // At two images a second a finalist's three epochs of 900 images take 1,350 s: six minutes hold none of them.
  farm.tamper = [](const Job& job, protocol::JobResult& result) {
    if (job.has_train_supernet()) result.mutable_trained_supernet()->set_images_per_second(2);
  };
  finish("run", config(std::string(kTrain) + "[budget]\nhours = 0.1\nevaluations = 50\n[finalists]\ncount = 3\n"));
  const auto log = events("run");
  EXPECT_EQ(std::ranges::find(log, "search_closed", &Event::type)->data.at("why"), "the budget is used up");
  EXPECT_LE(farm.count(Job::kEvaluateSubnet), 4u);
}

TEST_F(SupernetStageTest, WithoutItCandidatesAreTrained) {
  finish("run", config());
  EXPECT_EQ(farm.count(Job::kTrainSupernet), 0u);
  EXPECT_EQ(farm.count(Job::kEvaluateSubnet), 0u);
}

}  // namespace
}  // namespace finch::controller
