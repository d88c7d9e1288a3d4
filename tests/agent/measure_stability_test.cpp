#include "agent/measure_stability.hpp"

#include <gmock/gmock.h>

namespace finch::agent {
namespace {

using testing::DoubleEq;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(MediansByMinuteTest, CutsWhereMinutesEnd) {
  // Ten seconds each, back to back.
  const std::vector<double> latencies = {10e3, 10e3, 12e3, 10e3, 10e3, 8e3, 20e3, 20e3, 20e3};
  EXPECT_THAT(medians_by_minute(latencies, 0, Seconds(60)), ElementsAre(DoubleEq(10e3), DoubleEq(20e3)));
  // A rest of half a minute counts, a shorter one does not.
  EXPECT_THAT(medians_by_minute({std::vector<double>{60e3, 30e3}}, 0, Seconds(60)), ElementsAre(60e3, 30e3));
  EXPECT_THAT(medians_by_minute({std::vector<double>{60e3, 20e3}}, 0, Seconds(60)), ElementsAre(60e3));
  EXPECT_TRUE(medians_by_minute({}, 0, Seconds(60)).empty());
}

TEST(MediansByMinuteTest, AtARateFramesCountHoweverShortTheyAre) {
  std::vector<double> latencies(60, 2.0);
  for (int i = 0; i < 60; ++i) latencies.push_back(3.0);
  EXPECT_THAT(medians_by_minute(latencies, 1, Seconds(60)), ElementsAre(2.0, 3.0));
}

class MeasureStabilityTest : public testing::Test {
 protected:
  std::expected<StabilityOutcome, Error> run(std::stop_token stop = {}) {
    StabilityLaunches launches{.latency = {}, .steady = {}, .quiet_ms = 2};
    launches.latency.mutable_latency()->set_rounds(2);
    launches.steady.mutable_steady()->set_seconds(1);
    const StabilityPlan plan{.curve = Seconds(1), .minute = Seconds(0.5), .soak = Seconds(0.05), .memory_share = 0.01};
    return measure_stability(
        launches, plan, SystemFiles(),
        [this](const LaunchRequest& request, const auto&, const auto&) -> std::expected<LaunchEvent, Error> {
          LaunchEvent event;
          if (request.has_steady()) {
            for (int i = 0; i < 10; ++i) event.mutable_steady()->add_latency_ms(i < 5 ? 100 : 110);
            return event;
          }
          const double latency = 2.0 * ++conditions_;
          if (conditions_ == fails_) return std::unexpected(Error{.message = "it crashed", .model_failed = true});
          for (int i = 0; i < 2; ++i) event.mutable_latency()->add_candidate_median_ms(latency);
          for (int i = 0; i < 700; ++i) event.mutable_latency()->add_candidate_ms(latency);
          return event;
        },
        [this](const std::string& what) { steps_.push_back(what); }, stop);
  }
  int conditions_ = 0, fails_ = 0;
  std::vector<std::string> steps_;
};

TEST_F(MeasureStabilityTest, GoesThroughAllConditionsInOrder) {
  const auto outcome = run();
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_THAT(steps_,
              ElementsAre("minute by minute", "CPU load", "memory pressure", HasSubstr("heating up"), "heat soak"));
  ASSERT_EQ(outcome->conditions.size(), 3u);
  EXPECT_EQ(outcome->conditions[0].name(), "CPU load");
  EXPECT_DOUBLE_EQ(outcome->conditions[0].slowdown(), 1);
  EXPECT_DOUBLE_EQ(outcome->conditions[2].slowdown(), 3);
  EXPECT_DOUBLE_EQ(outcome->conditions[2].latency_p99_ms(), 6);
  EXPECT_THAT(outcome->minute_median_ms, ElementsAre(100, 110));
}

TEST_F(MeasureStabilityTest, AModelThatFailsUnderPressureIsARemark) {
  fails_ = 2;
  const auto outcome = run();
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->conditions[1].slowdown(), 0);
  EXPECT_THAT(outcome->conditions[1].remarks(), ElementsAre("it crashed"));
  EXPECT_GT(outcome->conditions[2].slowdown(), 0);
}

TEST_F(MeasureStabilityTest, AStopEndsIt) {
  std::stop_source stop;
  stop.request_stop();
  const auto outcome = run(stop.get_token());
  ASSERT_FALSE(outcome);
  EXPECT_TRUE(outcome.error().retryable);
}

}  // namespace
}  // namespace finch::agent
