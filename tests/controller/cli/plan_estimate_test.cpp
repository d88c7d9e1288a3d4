#include "controller/cli/plan_estimate.hpp"

#include <gmock/gmock.h>

namespace finch::controller {
namespace {

using testing::HasSubstr, testing::Not;

CampaignConfig config(std::optional<double> hours, std::optional<std::int64_t> evaluations) {
  CampaignConfig config;
  config.budget.hours = hours;
  config.budget.evaluations = evaluations;
  config.finalists.count = 3;
  config.train.mode = "standalone";
  return config;
}

PlanFacts facts() {
  return {.train_samples = 10'000,
          .test_samples = 1'000,
          .images_per_second_small = 4'000,
          .images_per_second_large = 1'000,
          .latency_ms_small = 0.1,
          .latency_ms_large = 1,
          .measurement_seconds = 5,
          .energy = false,
          .largest_parameters = 100'000};
}

TEST(PlanEstimateTest, TheStagesAddUp) {
  const auto plan = plan_campaign(config({}, 20), facts());
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->evaluations, 20);
  double seconds = 0, megabytes = 0;
  for (const PlanStage& stage : plan->stages) {
    EXPECT_GT(stage.seconds, 0) << stage.name;
    seconds += stage.seconds;
    megabytes += stage.megabytes;
  }
  EXPECT_DOUBLE_EQ(plan->total_seconds(), seconds);
  EXPECT_DOUBLE_EQ(plan->total_megabytes(), megabytes);
}

TEST(PlanEstimateTest, MoreEvaluationsTakeLonger) {
  const auto few = plan_campaign(config({}, 10), facts()), many = plan_campaign(config({}, 100), facts());
  ASSERT_TRUE(few && many);
  EXPECT_LT(few->total_seconds(), many->total_seconds());
  EXPECT_LT(few->total_megabytes(), many->total_megabytes());
}

TEST(PlanEstimateTest, FinalistsAreMeasuredLongerWhereEnergyIs) {
  CampaignConfig certified = config({}, 20);
  certified.measure.finalist_tier = "certify";
  PlanFacts with_sensor = facts();
  with_sensor.energy = true;
  const auto without = plan_campaign(certified, facts()), with = plan_campaign(certified, with_sensor);
  ASSERT_TRUE(without && with);
  EXPECT_NEAR(with->total_seconds() - without->total_seconds(), static_cast<double>(certified.finalists.count) * 2 * 80,
              1e-6);
}

TEST(PlanEstimateTest, AFasterMachineEvaluatesMoreInTheSameHours) {
  PlanFacts fast = facts();
  fast.images_per_second_small *= 4;
  fast.images_per_second_large *= 4;
  const auto plan = plan_campaign(config(1, {}), facts()), faster = plan_campaign(config(1, {}), fast);
  ASSERT_TRUE(plan && faster);
  EXPECT_GT(faster->evaluations, plan->evaluations);
  EXPECT_LE(plan->total_seconds(), 3600 * 1.05);
}

double seconds_of(const Plan& plan, const std::string& name) {
  const auto stage = std::ranges::find(plan.stages, name, &PlanStage::name);
  return stage == plan.stages.end() ? 0 : stage->seconds;
}

TEST(PlanEstimateTest, TrainingWithFakeQuantizationCountsWhereThereMayBeAny) {
  CampaignConfig usual = config({}, 20), none = usual, longer = usual, pruned = usual, deployed = usual;
  none.quantize.qat_epochs = 0;
  longer.quantize.qat_epochs = 3 * usual.quantize.qat_epochs;
  pruned.finalists.pipeline.steps = {{"prune", 0.3}};
  deployed.finalists.pipeline.steps = {{"prune", 0.3}};
  deployed.deploy.precision = "int8";
  const auto seconds = [](const CampaignConfig& of) { return seconds_of(*plan_campaign(of, facts()), "quantization"); };
  // Three finalists, one epoch of 10,000 images each, at 2,000 images/s without it.
  EXPECT_GT(seconds(usual), 3 * 10'000 / 2'000.0);
  EXPECT_DOUBLE_EQ(seconds(longer), 3 * seconds(usual));
  EXPECT_EQ(seconds(none), 0);
  EXPECT_EQ(seconds(pruned), 0);
  EXPECT_DOUBLE_EQ(seconds(deployed), seconds(usual));
  pruned.finalists.pipeline.steps.push_back({"quantize", 0});
  EXPECT_DOUBLE_EQ(seconds(pruned), seconds(usual));
  // What the budget must hold.
  usual.budget.hours = none.budget.hours = 0.01;
  const auto with = plan_campaign(usual, facts()), without = plan_campaign(none, facts());
  ASSERT_FALSE(with || without);
  EXPECT_THAT(with.error().message, HasSubstr("their quantization ("));
  EXPECT_THAT(without.error().message, Not(HasSubstr("their quantization (")));
}

TEST(PlanEstimateTest, ASupernetCostsOnceWhatCandidatesNoLongerDo) {
  CampaignConfig shared = config({}, 100);
  shared.train.mode = "supernet";
  const auto alone = plan_campaign(config({}, 100), facts()), plan = plan_campaign(shared, facts());
  ASSERT_TRUE(alone && plan);
  EXPECT_EQ(seconds_of(*alone, "supernet"), 0);
  EXPECT_GT(seconds_of(*plan, "supernet"), 0);
  EXPECT_LT(seconds_of(*plan, "search"), seconds_of(*alone, "search"));
  EXPECT_EQ(seconds_of(*plan, "finalists"), seconds_of(*alone, "finalists"));
  shared.budget.hours = 0.01;
  const auto refused = plan_campaign(shared, facts());
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("the supernet ("));
}

TEST(PlanEstimateTest, ABudgetThatCannotHoldNamesTheNearestThatCan) {
  const auto refused = plan_campaign(config(0.001, {}), facts());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().exit_code, ExitCode::usage);
  EXPECT_THAT(refused.error().message, HasSubstr("budget.hours"));
  // The named budget, tried.
  double hours = 0;
  const std::string& text = refused.error().message;
  for (std::size_t at = 0; (at = text.find("hours = ", at)) != std::string::npos; ++at)
    hours = std::stod(text.substr(at + 8));
  ASSERT_GT(hours, 0.001) << text;
  EXPECT_TRUE(plan_campaign(config(hours, {}), facts())) << text;
}

}  // namespace
}  // namespace finch::controller
