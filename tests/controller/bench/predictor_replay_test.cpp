#include "controller/bench/predictor_replay.hpp"

#include <gmock/gmock.h>

#include <format>
#include <nlohmann/json.hpp>

#include "controller/bench/table_replay.hpp"

namespace finch::controller {
namespace {

using ::testing::HasSubstr;

class PredictorReplay : public testing::Test {
 protected:
  MetricTable table(double least = 1) {
    std::string text = "genotype,here,there\n";
    for (int i = 0; i < 15'625; i += 13) {
      search::Genotype genotype;
      for (int k = 0, rest = i; k < 6; ++k, rest /= 5) genotype.push_back(rest % 5);
      const auto parts = space_->workload(genotype);
      const double ms = least + 2 * parts[parts.size() - 3] + 9 * parts[parts.size() - 2];
      text += std::format("{},{},{}\n", search::to_digits(genotype), ms, 3 * ms + 1);
    }
    return *MetricTable::parse(text, "t.csv", *space_, {"here", "there"});
  }
  std::expected<std::vector<PredictorScore>, Error> replay(const PredictorReplayConfig& config, double least = 1) {
    return replay_predictor(table(least), *space_, config, [](double) {}, {});
  }
  std::unique_ptr<search::SearchSpace> space_ =
      *search::make_search_space({.name = "nasbench201", .image = {3, 32, 32}, .classes = 10});
  PredictorReplayConfig config_{
      .metric = "here", .known = {"there"}, .known_samples = 100, .samples = {8, 60}, .seeds = 3, .tested = 200};
};

TEST_F(PredictorReplay, MoreSamplesAndAKnownDevicePredictBetter) {
  const auto helped = replay(config_);
  ASSERT_TRUE(helped) << helped.error().message;
  config_.known.clear();
  const auto alone = replay(config_);
  ASSERT_TRUE(alone) << alone.error().message;
  const auto median = [](const std::vector<double>& values) { return quartiles(values).median; };
  EXPECT_GT(median(alone->at(1).rank_correlation), median(alone->at(0).rank_correlation));
  EXPECT_GT(median(helped->at(0).rank_correlation), median(alone->at(0).rank_correlation));
  EXPECT_GT(median(alone->at(1).within_tenth), 0.8);
  EXPECT_EQ(replay(config_)->at(0).rank_correlation, alone->at(0).rank_correlation);  // the same seeds

  const auto json = nlohmann::json::parse(to_json(*helped, config_));
  EXPECT_EQ(json["scores"][1]["samples"], 60);
  EXPECT_THAT(to_text(*alone, config_), HasSubstr("known beforehand: nothing"));
}

TEST_F(PredictorReplay, RefusesATableTooSmallAndCostsThatAreNone) {
  config_.samples = {5000};
  EXPECT_THAT(replay(config_).error().message, HasSubstr("5000 samples need at least 5010"));
  config_.samples = {8};
  const auto zero = replay(config_, 0);
  ASSERT_FALSE(zero);
  EXPECT_THAT(zero.error().message, HasSubstr("a cost to predict is positive"));
  EXPECT_EQ(zero.error().exit_code, ExitCode::usage);
}

}  // namespace
}  // namespace finch::controller
