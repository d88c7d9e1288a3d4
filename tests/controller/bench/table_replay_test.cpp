#include "controller/bench/table_replay.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <cstdlib>
#include <format>
#include <nlohmann/json.hpp>
#include <set>

#include "search/pareto_front.hpp"
#include "search/search_algorithm.hpp"

namespace finch::controller {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class TableReplay : public testing::Test {
 protected:
  // Accuracy rises with convolutions, cost too; `poison` replaces both where it gives something.
  MetricTable table(const std::function<std::optional<std::string>(const search::Genotype&)>& poison = {}) {
    std::string text = "genotype,top1,ms\n";
    for (int i = 0; i < 15'625; i += 3) {
      search::Genotype genotype;
      for (int k = 0, rest = i; k < 6; ++k, rest /= 5) genotype.push_back(rest % 5);
      const auto features = space_->features(space_->canonical(genotype));
      std::string cells = std::format("{},{}", 95 - 60 / (1 + features[1] + 2 * features[2] + features[7]),
                                      1 + 2 * features[1] + 9 * features[2] + features[3]);
      if (poison) cells = poison(space_->canonical(genotype)).value_or(cells);
      text += std::format("{},{}\n", search::to_digits(genotype), cells);
    }
    return *MetricTable::parse(text, "t.csv", *space_, {"top1", "ms"});
  }
  ReplayConfig config(const std::string& algorithm = "surrogate") {
    return {.maximize = {"top1"},
            .minimize = {"ms"},
            .algorithm = algorithm,
            .evaluations = 40,
            .seeds = 3,
            .reference = {}};
  }
  Replay replay(const MetricTable& table, const ReplayConfig& settings) {
    auto done = replay_on_table(table, *space_, settings, [](double) {}, {});
    EXPECT_TRUE(done) << done.error().message;
    return *done;
  }
  std::unique_ptr<search::SearchSpace> space_ =
      *search::make_search_space({.name = "nasbench201", .image = {3, 32, 32}, .classes = 10});
};

// An algorithm learns nothing of what it did not ask for: other values there change nothing.
TEST_F(TableReplay, OtherCellsAreNotSeen) {
  for (const std::string& algorithm : search::search_algorithm_names()) {
    ReplayConfig settings = config(algorithm);
    settings.seeds = 1;
    settings.reference = {90, 90};
    const Replay honest = replay(table(), settings);
    std::set<search::Genotype> asked;
    for (const Evaluation& evaluation : honest.runs[0]) asked.insert(space_->canonical(evaluation.genotype));
    const Replay poisoned = replay(table([&](const search::Genotype& genotype) -> std::optional<std::string> {
                                     if (asked.contains(genotype)) return std::nullopt;
                                     return genotype[0] % 2 == 0 ? "99.9,0.001" : "-1e9,1e12";
                                   }),
                                   settings);
    EXPECT_EQ(to_jsonl(poisoned, settings), to_jsonl(honest, settings)) << algorithm;
  }
}

TEST_F(TableReplay, CountsDistinctNetworksAndItsHypervolumeOnlyGrows) {
  const MetricTable measured = table();
  for (const std::string& algorithm : search::search_algorithm_names()) {
    const Replay done = replay(measured, config(algorithm));
    for (const auto& run : done.runs) {
      ASSERT_THAT(run, SizeIs(40));
      std::set<search::Genotype> distinct;
      double before = 0;
      for (const Evaluation& evaluation : run) {
        EXPECT_TRUE(distinct.insert(space_->canonical(evaluation.genotype)).second);
        EXPECT_EQ(measured.find(evaluation.genotype)->values, evaluation.values);
        EXPECT_GE(evaluation.hypervolume, before);
        EXPECT_LE(evaluation.hypervolume, 1 + 1e-12);
        before = evaluation.hypervolume;
      }
    }
  }
}

TEST_F(TableReplay, ThreadsChangeNothing) {
  ReplayConfig settings = config();
  const std::string alone = to_jsonl(replay(table(), settings), settings);
  settings.jobs = 3;
  EXPECT_EQ(to_jsonl(replay(table(), settings), settings), alone);
}

TEST_F(TableReplay, TheReferenceIsGivenOrATenthBeyondTheFront) {
  ReplayConfig settings = config("random");
  settings.evaluations = 1;
  const Replay by_default = replay(table(), settings);
  EXPECT_NEAR(by_default.reference[0], 1.1 * 65, 1e-9);
  settings.reference = {50};
  const auto refused = replay_on_table(table(), *space_, settings, [](double) {}, {});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("--reference has 1 values for 2 objectives"));
  settings.reference = {1, 1};
  EXPECT_THAT(replay_on_table(table(), *space_, settings, [](double) {}, {}).error().message,
              HasSubstr("no row of the table is better than --reference"));
}

TEST_F(TableReplay, KnowsCheapMetricsBeforehand) {
  ReplayConfig settings = config();
  settings.cheap = {"top1", "ms"};
  settings.evaluations = 60;
  const Replay done = replay(table(), settings);
  EXPECT_LT(evaluations_to(done, 0.99).worst, 25) << "the front itself, after the initial design";
}

TEST_F(TableReplay, StopsWhenAskedTo) {
  std::stop_source source;
  source.request_stop();
  const auto stopped = replay_on_table(table(), *space_, config(), [](double) {}, source.get_token());
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().exit_code, ExitCode::interrupted);
}

TEST(Quartiles, AreByNearestRank) {
  const Quartiles of = quartiles({5, 1, 4, 2, 3});
  EXPECT_THAT((std::vector{of.low, of.median, of.high, of.worst}), ElementsAre(2, 3, 4, 5));
  EXPECT_EQ(quartiles({7}).median, 7);
}

TEST_F(TableReplay, PrintsJsonThatCanBeRead) {
  ReplayConfig settings = config();
  const Replay done = replay(table(), settings);
  const auto json = nlohmann::json::parse(to_json(done, settings));
  EXPECT_EQ(json.at("hypervolume").size(), 40);
  EXPECT_EQ(json.at("evaluations_to").at(1).at("share"), 0.95);
  const std::string lines = to_jsonl(done, settings);
  const auto first = nlohmann::json::parse(lines.substr(0, lines.find('\n')));
  EXPECT_EQ(first.at("seed"), 1);
  EXPECT_EQ(first.at("index"), 1);
  EXPECT_TRUE(first.at("values").contains("ms"));
  EXPECT_THAT(to_text(done, settings), HasSubstr("to 95 %"));
}

}  // namespace
}  // namespace finch::controller
