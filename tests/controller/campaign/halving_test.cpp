// Training in parts, of which only the best candidates get the next.
#include <gmock/gmock.h>

#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using protocol::Job;

constexpr const char* kRungs =
    "[budget]\nevaluations = 24\n[finalists]\ncount = 3\n[train]\nepochs = 9.0\nrungs = 3\nreduction = 3.0\n";

class HalvingTest : public testing::Test, protected CampaignFixture {};

TEST_F(HalvingTest, OnlyTheBestAreTrainedToTheEnd) {
  const CampaignResult result = finish("run", config(kRungs));
  std::map<std::uint64_t, std::size_t> parts;
  for (const Event& event : events("run")) {
    if (event.type == "trained") ++parts[event.data.at("id")];
  }
  ASSERT_EQ(parts.size(), 24u);
  std::map<std::size_t, std::size_t> reached;
  for (const CandidatePoint& candidate : result.candidates) {
    ++reached[parts[candidate.id]];
    EXPECT_EQ(candidate.outcome, parts[candidate.id] == 3 ? "evaluated" : "stopped");
  }
  EXPECT_GE(reached[1], 8u);
  EXPECT_GE(reached[3], 2u);
  EXPECT_LT(reached[3], 10u);
  for (const FrontModel& model : result.models) {
    EXPECT_EQ(parts[std::stoul(model.id.substr(1))], 3u) << "a finalist that was not trained to the end";
  }
}

TEST_F(HalvingTest, EachPartGoesOnFromTheOneBefore) {
  finish("run", config(kRungs));
  std::map<std::string, double> epochs;  // by genotype: trained so far
  std::map<std::string, std::string> checkpoint;
  for (const Job& job : farm.served) {
    if (!job.has_train_candidate() || job.train_candidate().precisions_size() > 0) continue;
    const auto& part = job.train_candidate();
    const search::Genotype genotype(part.genotype().begin(), part.genotype().end());
    const std::string name = search::to_string(genotype);
    epochs[name] += part.recipe().epochs();
    if (epochs[name] > 1) {
      const std::string before = std::format("weights of {} after {}", name, epochs[name] > 3 ? 2.0 : 1.0);
      EXPECT_EQ(part.parent_checkpoint().sha256(), protocol::sha256_hex(before));
    }
    const double sum = epochs[name];
    EXPECT_TRUE(std::abs(sum - 1) < 1e-9 || std::abs(sum - 3) < 1e-9 || std::abs(sum - 9) < 1e-9) << sum;
  }
  EXPECT_FALSE(epochs.empty());
}

TEST_F(HalvingTest, WhatWasStoppedIsToldAsItWouldLikelyHaveBecome) {
  finish("run", config(kRungs));
  std::map<std::uint64_t, double> top1;
  std::map<std::uint64_t, std::size_t> parts;
  std::size_t better = 0, stopped = 0;
  for (const Event& event : events("run")) {
    if (event.type == "trained") {
      top1[event.data.at("id")] = event.data.at("result").at("validationTop1");
      ++parts[event.data.at("id")];
    }
    if (event.type != "told") continue;
    const std::uint64_t id = event.data.at("id");
    const double told = event.data.at("objectives").at(0);
    if (event.data.at("outcome") == "evaluated") {
      EXPECT_NEAR(told, 100 * (1 - top1[id]), 1e-9);
    }
    if (event.data.at("outcome") != "stopped") continue;
    ++stopped;
    better += told < 100 * (1 - top1[id]) - 0.01;
  }
  EXPECT_GT(stopped, 8u);
  EXPECT_GT(better, stopped / 2);  // all but the first of them
}

TEST_F(HalvingTest, AResumedCampaignStopsTheSameCandidates) {
  finish("whole", config(kRungs));
  for (const std::size_t steps : {30u, 90u, 150u}) {
    CampaignFixture other;
    auto run = other.create("run", other.config(kRungs));
    ASSERT_TRUE(other.drive(*run, steps));
    run.reset();
    run = other.open("run");
    ASSERT_TRUE(other.drive(*run));
    EXPECT_EQ(types_of(other.events("run")), types_of(events("whole")));
  }
}

TEST_F(HalvingTest, AnExtendedCampaignKnowsWhoWasStopped) {
  finish("run", config(kRungs));
  auto more = config(std::string(kRungs).replace(std::string(kRungs).find("24"), 2, "30"));
  auto campaign = Campaign::extend(more, folder("run"));
  ASSERT_TRUE(campaign) << campaign.error().message;
  auto& run = dynamic_cast<CampaignRun&>(**campaign);
  ASSERT_TRUE(drive(run));
  const auto result = run.result();
  ASSERT_TRUE(result);
  EXPECT_EQ(result->candidates.size(), 30u);
  std::size_t trained = 0;
  for (const Event& event : events("run")) trained += event.type == "trained" && event.data.at("id") <= 24;
  std::size_t before = 0;
  for (const Event& event : events("run")) {
    if (event.type == "extended") break;
    before += event.type == "trained";
  }
  EXPECT_EQ(trained, before);  // nobody was trained again
}

}  // namespace
}  // namespace finch::controller
