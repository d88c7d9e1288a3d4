#include "agent/steady_run.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/scripted_backend.hpp"

namespace finch::agent {
namespace {

using std::chrono::milliseconds;
using testing::AllOf;
using testing::DoubleEq;
using testing::Each;
using testing::SizeIs;

class Steady : public testing::Test {
 protected:
  SteadyRun run(ScriptedSession& session, const SteadyPlan& plan) {
    auto ran = run_steadily(
        session, plan, [this] { return clock_.now(); },
        [this](std::chrono::nanoseconds until) {
          if (until > clock_.now()) clock_.advance(until - clock_.now());
        },
        [this](double share) { shares_.push_back(share); });
    EXPECT_TRUE(ran);
    return *ran;
  }
  ManualClock clock_;
  std::vector<double> shares_;
};

TEST_F(Steady, BackToBackFillsTheTime) {
  ScriptedSession session(clock_, [](std::size_t) { return milliseconds(10); });
  const SteadyRun ran = run(session, {.duration = Seconds(3)});
  EXPECT_THAT(ran.latency_ms, AllOf(SizeIs(300), Each(DoubleEq(10))));
  EXPECT_EQ(ran.end - ran.begin, milliseconds(3'000));
  EXPECT_EQ(ran.missed_deadlines, 0);
  EXPECT_THAT(shares_, testing::ElementsAre(0, testing::DoubleNear(1 / 3.0, 0.01), testing::DoubleNear(2 / 3.0, 0.01)));
}

TEST_F(Steady, AtARateItWaitsAndTheIdleTimeCounts) {
  ScriptedSession session(clock_, [](std::size_t) { return milliseconds(10); });
  const SteadyRun ran = run(session, {.duration = Seconds(2), .rate_hz = 25});
  EXPECT_THAT(ran.latency_ms, AllOf(SizeIs(50), Each(DoubleEq(10))));
  EXPECT_EQ(ran.end - ran.begin, milliseconds(2'000));
  EXPECT_EQ(ran.missed_deadlines, 0);
}

TEST_F(Steady, LateFramesAreCountedAndNoneIsDropped) {
  // Every tenth inference takes 60 ms at 25 Hz: it ends after the next is due, which ends in time again.
  ScriptedSession session(clock_, [](std::size_t n) { return milliseconds(n % 10 == 9 ? 60 : 10); });
  const SteadyRun ran = run(session, {.duration = Seconds(2), .rate_hz = 25});
  EXPECT_THAT(ran.latency_ms, SizeIs(50));
  EXPECT_EQ(ran.missed_deadlines, 5);
}

TEST_F(Steady, AModelSlowerThanTheRateMissesAll) {
  ScriptedSession session(clock_, [](std::size_t) { return milliseconds(100); });
  const SteadyRun ran = run(session, {.duration = Seconds(2), .rate_hz = 25});
  EXPECT_THAT(ran.latency_ms, SizeIs(20));
  EXPECT_EQ(ran.missed_deadlines, 20);
}

TEST_F(Steady, RunsOnceAtLeast) {
  ScriptedSession session(clock_, [](std::size_t) { return milliseconds(5'000); });
  EXPECT_THAT(run(session, {.duration = Seconds(1)}).latency_ms, SizeIs(1));
}

TEST_F(Steady, AFailureIsHandedOn) {
  ScriptedSession session(clock_, [](std::size_t) { return milliseconds(10); });
  session.fail_at(3);
  EXPECT_FALSE(run_steadily(session, {}, [this] { return clock_.now(); }, [](auto) {}, [](double) {}));
}

}  // namespace
}  // namespace finch::agent
