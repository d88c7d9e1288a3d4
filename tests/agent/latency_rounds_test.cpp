#include "agent/latency_rounds.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/scripted_backend.hpp"

namespace finch::agent {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

class LatencyRounds : public testing::Test {
 protected:
  Clock clock() {
    return [this] { return clock_.now(); };
  }
  ManualClock clock_;
};

TEST_F(LatencyRounds, WarmUpEndsWhenThreeWindowsAgree) {
  // Slow at first, as on a core that comes out of a deep sleep: 750 ms of 40, 39, ... ms; then steady.
  ScriptedSession session(clock_, [](std::size_t run) { return milliseconds(run < 30 ? 40 - run : 10); });
  const WarmUpPlan plan{.minimum = Seconds(0.5), .cap = Seconds(5), .agreement = 0.01};
  const auto settled = warm_up(session, plan, clock());
  ASSERT_TRUE(settled) << settled.error().message;
  EXPECT_TRUE(*settled);
  EXPECT_GE(clock_.now(), milliseconds(750 + 200));  // at least two whole windows of the three are steady
  EXPECT_LT(clock_.now(), milliseconds(1500));
}

TEST_F(LatencyRounds, WarmUpLastsItsMinimumAndTenRuns) {
  ScriptedSession fast(clock_, [](std::size_t) { return milliseconds(1); });
  EXPECT_TRUE(warm_up(fast, {.minimum = Seconds(1), .cap = Seconds(3)}, clock()).value());
  EXPECT_GE(clock_.now(), milliseconds(1000));
  ScriptedSession slow(clock_, [](std::size_t) { return milliseconds(700); });
  EXPECT_TRUE(warm_up(slow, {.minimum = Seconds(1), .cap = Seconds(3)}, clock()).value());
  EXPECT_GE(slow.runs(), 10U);
}

TEST_F(LatencyRounds, WarmUpGivesUpAtTheCap) {
  ScriptedSession restless(clock_, [](std::size_t run) { return milliseconds(10 + run); });
  const auto settled = warm_up(restless, {.minimum = Seconds(1), .cap = Seconds(3)}, clock());
  ASSERT_TRUE(settled);
  EXPECT_FALSE(*settled);
}

TEST_F(LatencyRounds, KeepsEveryLatencyAndTheMediansOfTheBlocks) {
  ScriptedSession candidate(clock_, [](std::size_t run) { return milliseconds(run % 10 == 9 ? 500 : 4); });
  ScriptedSession reference(clock_, [](std::size_t) { return milliseconds(2); });
  int heard = 0;
  const auto latencies = measure_rounds(candidate, reference, {.rounds = 5, .seed = 3}, clock(),
                                        [&heard](int round) { EXPECT_EQ(round, ++heard); });
  ASSERT_TRUE(latencies) << latencies.error().message;
  EXPECT_EQ(heard, 5);
  EXPECT_THAT(latencies->candidate_median_ms, testing::ElementsAre(4, 4, 4, 4, 4));
  EXPECT_THAT(latencies->reference_median_ms, testing::ElementsAre(2, 2, 2, 2, 2));
  EXPECT_EQ(latencies->candidate_ms.size(), candidate.runs());
  EXPECT_THAT(latencies->candidate_ms, testing::Contains(500));
}

TEST_F(LatencyRounds, BlocksAreLongEnoughAndHoldWholeQueries) {
  ScriptedSession candidate(clock_, [](std::size_t) { return milliseconds(400); });
  ScriptedSession reference(clock_, [](std::size_t) { return milliseconds(2); });
  const auto latencies = measure_rounds(
      candidate, reference,
      {.rounds = 1, .candidate_block = Seconds(0.5), .reference_block = Seconds(0.5), .candidate_block_queries = 7},
      clock());
  ASSERT_TRUE(latencies);
  EXPECT_EQ(candidate.runs(), 7U);
  EXPECT_EQ(reference.runs(), 250U);
}

TEST_F(LatencyRounds, OrderWithinRoundsVariesWithTheSeed) {
  // Which session runs first in a round shows in the log of runs.
  const auto order = [](std::uint64_t seed) {
    ManualClock clock;
    std::string log;
    ScriptedSession candidate(clock, [&log](std::size_t) { return log += 'c', milliseconds(600); });
    ScriptedSession reference(clock, [&log](std::size_t) { return log += 'r', milliseconds(600); });
    EXPECT_TRUE(measure_rounds(candidate, reference, {.rounds = 16, .seed = seed}, [&clock] { return clock.now(); }));
    return log;
  };
  EXPECT_EQ(order(1), order(1));
  EXPECT_NE(order(1), order(2));
  EXPECT_THAT(order(1), testing::HasSubstr("cc"));
  EXPECT_THAT(order(1), testing::HasSubstr("rr"));
}

TEST_F(LatencyRounds, AFailingRunEndsIt) {
  ScriptedSession candidate(clock_, [](std::size_t) { return milliseconds(4); });
  ScriptedSession reference(clock_, [](std::size_t) { return milliseconds(4); });
  candidate.fail_at(5);
  const auto latencies = measure_rounds(candidate, reference, {}, clock());
  ASSERT_FALSE(latencies);
  EXPECT_EQ(latencies.error().message, "scripted failure");
}

}  // namespace
}  // namespace finch::agent
