// Candidates that need not be measured: their cost is foretold, from this campaign's measurements and earlier ones'.
#include <gmock/gmock.h>

#include <set>

#include "controller/campaign/measurement_history.hpp"
#include "controller/report/report.hpp"
#include "tests/controller/campaign/simulated_farm.hpp"

namespace finch::controller {
namespace {

using protocol::Job;

constexpr const char* kLong = "[budget]\nevaluations = 60\n[finalists]\ncount = 3\n[search]\nalgorithm = \"random\"\n";

class EstimatesTest : public testing::Test, protected CampaignFixture {
 protected:
  // Events of a type, by candidate.
  static std::set<std::uint64_t> candidates_of(const std::vector<Event>& events, const std::string& type) {
    std::set<std::uint64_t> ids;
    for (const Event& event : events) {
      if (event.type == type) ids.insert(event.data.at("id").get<std::uint64_t>());
    }
    return ids;
  }
  // One campaign's measurements of another seed.
  void search_before(const std::string& tables = kLong) {
    CampaignConfig before = config(tables);
    before.seed = 99;
    finish("before", before);
  }
};

TEST_F(EstimatesTest, WhatIsFarFromTheFrontIsNotMeasured) {
  const CampaignResult result = finish("run", config(kLong));
  const auto log = events("run");
  const auto estimated = candidates_of(log, "estimated"), screened = candidates_of(log, "screened");
  EXPECT_GT(estimated.size(), 10u);
  std::size_t unmeasured = 0;
  for (const CandidatePoint& candidate : result.candidates) {
    EXPECT_EQ(candidate.estimated, !screened.contains(candidate.id));
    unmeasured += candidate.estimated;
    // The simulated device takes a microsecond for a thousand MACs: an estimate is near that.
    EXPECT_NEAR(*candidate.latency_ms / (0.01 + 1e-6 * static_cast<double>(candidate.macs)), 1, 0.2);
    if (candidate.id % 4 == 0) {
      EXPECT_FALSE(candidate.estimated) << candidate.id;
    }
  }
  EXPECT_GT(unmeasured, 5u);
  EXPECT_THAT(result.notes,
              testing::Contains(testing::StartsWith(
                  std::format("{} candidates that could not be on the front were not measured on local", unmeasured))));
  EXPECT_LT(unmeasured, estimated.size());  // some were measured after all, because they might be on the front
  for (const FrontModel& model : result.models) {
    for (const ModelFile& file : model.files) EXPECT_EQ(file.measurements.front().verdict, "VALID");
  }
}

TEST_F(EstimatesTest, ThoseOnTheFrontAreTheSameAsWithoutEstimates) {
  const CampaignResult with = finish("with", config(kLong));
  const CampaignResult without = finish("without", config(std::string(kLong) + "[measure]\nestimate = false\n"));
  EXPECT_TRUE(candidates_of(events("without"), "estimated").empty());
  ASSERT_EQ(with.models.size(), without.models.size());
  for (std::size_t i = 0; i < with.models.size(); ++i) EXPECT_EQ(with.models[i].id, without.models[i].id);
}

TEST_F(EstimatesTest, ADeviceWhoseCostsCannotBeForetoldIsMeasured) {
  farm.tamper = [](const Job& job, protocol::JobResult& result) {
    if (!job.has_measure()) return;
    const auto noise = 1 + std::hash<std::string>{}(job.measure().model().sha256()) % 7;
    result.mutable_measurement()->set_latency_median_ms(static_cast<double>(noise));
  };
  finish("run", config(kLong));
  EXPECT_TRUE(candidates_of(events("run"), "estimated").empty());
}

TEST_F(EstimatesTest, WhatIsCloseToTheLimitIsMeasured) {
  const CampaignResult result = finish("run", config(std::string("latency_ms = 3.0\n") + kLong));
  std::size_t dropped_unmeasured = 0;
  for (const CandidatePoint& candidate : result.candidates) {
    EXPECT_EQ(candidate.outcome == "too slow", 0.01 + 1e-6 * static_cast<double>(candidate.macs) > 3.0);
    dropped_unmeasured += candidate.estimated && candidate.outcome == "too slow";
  }
  EXPECT_GT(dropped_unmeasured, 0u);
}

TEST_F(EstimatesTest, AnEarlierCampaignsMeasurementsCount) {
  search_before();
  finish("run", config(kLong));
  const auto log = events("run");
  const auto history = std::ranges::find(log, "history", &Event::type);
  ASSERT_NE(history, log.end());
  EXPECT_GT(history->data.at("samples").size(), 20u);
  const auto estimated = candidates_of(log, "estimated");
  ASSERT_FALSE(estimated.empty());
  EXPECT_EQ(*estimated.begin(), 1u);  // nothing had to be measured first
}

TEST_F(EstimatesTest, AnotherDevicesMeasurementsAreAStart) {
  search_before();
  farm.device.set_state_hash("state 2");  // a new kernel, say: what was measured before is of another device
  farm.connect();
  finish("run", config(kLong));
  const auto log = events("run");
  const auto history = std::ranges::find(log, "history", &Event::type);
  ASSERT_NE(history, log.end());
  EXPECT_TRUE(history->data.at("samples").empty());
  ASSERT_EQ(history->data.at("others").size(), 1u);
  const auto first = std::ranges::find(log, "estimated", &Event::type);
  ASSERT_NE(first, log.end());
  EXPECT_EQ(first->data.at("similar"), "local, onnxruntime cpu fp32, 1 threads, batch 1");
  EXPECT_GE(first->data.at("rank_correlation"), 0.9);
  EXPECT_GE(first->data.at("within_tenth"), 0.8);
}

TEST_F(EstimatesTest, AResumedCampaignEstimatesWhatItWouldHave) {
  finish("whole", config(kLong));
  for (const std::size_t steps : {40u, 200u, 333u}) {
    CampaignFixture other;
    auto run = other.create("run", other.config(kLong));
    ASSERT_TRUE(other.drive(*run, steps));
    run.reset();
    run = other.open("run");
    ASSERT_TRUE(other.drive(*run));
    const auto is = other.events("run"), should = events("whole");
    ASSERT_EQ(types_of(is), types_of(should));
    for (std::size_t i = 0; i < is.size(); ++i) {
      if (is[i].type == "estimated") {
        EXPECT_EQ(is[i].data, should[i].data);
      }
    }
  }
}

TEST_F(EstimatesTest, EnergyIsEstimatedWhereItIsAnObjective) {
  farm.device.add_measures("energy");
  farm.connect();
  farm.tamper = [](const Job&, protocol::JobResult& result) {
    if (result.has_measurement())
      result.mutable_measurement()->set_energy_net_mj(5 * result.measurement().latency_median_ms());
  };
  const auto settings = config(
      "[budget]\nevaluations = 60\n[finalists]\ncount = 3\n"
      "[search]\nalgorithm = \"random\"\nobjectives = [\"accuracy\", \"energy\"]\n");
  finish("run", settings);
  std::size_t estimated = 0;
  for (const Event& event : events("run")) {
    if (event.type != "estimated") continue;
    ++estimated;
    EXPECT_NEAR(event.data.at("energy_mj").get<double>() / event.data.at("latency_ms").get<double>(), 5, 1);
  }
  EXPECT_GT(estimated, 0u);
}

TEST_F(EstimatesTest, AnExportHasOnlyWhatWasMeasured) {
  const CampaignResult result = finish("run", config(kLong));
  const std::string table = evaluations_csv(result);
  std::size_t rows = 0, empty = 0;
  for (std::size_t at = table.find('\n'); at + 1 < table.size(); at = table.find('\n', at + 1)) {
    ++rows;
    const std::string row = table.substr(at + 1, table.find('\n', at + 1) - at - 1);
    const std::size_t accuracy = row.find(',');
    const std::size_t latency = row.find(',', accuracy + 1);
    empty += row[latency + 1] == ',';
  }
  EXPECT_EQ(rows, result.candidates.size());
  EXPECT_EQ(empty, static_cast<std::size_t>(
                       std::ranges::count_if(result.candidates, [](const auto& one) { return one.estimated; })));
}

}  // namespace
}  // namespace finch::controller
