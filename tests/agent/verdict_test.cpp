#include "agent/verdict.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace finch::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

Evidence good() {
  return {.launches = 3, .foreign_cpu = 0.004, .cpu_pressure = 0.001, .half_width = 0.006, .half_width_wanted = 0.01};
}

TEST(Verdict, IsValidWhenNothingSpeaksAgainstIt) {
  const Verdict verdict = judge(good());
  EXPECT_EQ(verdict.name, "VALID");
  EXPECT_TRUE(verdict.reasons.empty());
}

TEST(Verdict, WhatIsNotKnownIsNoReason) {
  Evidence evidence = good();
  evidence.foreign_cpu.reset();
  evidence.cpu_pressure.reset();
  EXPECT_EQ(judge(evidence).name, "VALID");
}

TEST(Verdict, DisturbanceDegrades) {
  for (auto member :
       {&Evidence::foreign_cpu, &Evidence::cpu_pressure, &Evidence::memory_pressure, &Evidence::io_pressure}) {
    Evidence evidence = good();
    evidence.*member = 0.01;
    EXPECT_EQ(judge(evidence).name, "VALID");
    evidence.*member = 0.0151;
    const Verdict verdict = judge(evidence);
    EXPECT_EQ(verdict.name, "DEGRADED");
    EXPECT_THAT(verdict.reasons, ElementsAre(HasSubstr("1.5 %")));
  }
}

TEST(Verdict, AnUnreachedIntervalDegrades) {
  Evidence evidence = good();
  evidence.half_width = 0.0212;
  EXPECT_EQ(judge(evidence).name, "DEGRADED");
  EXPECT_THAT(judge(evidence).reasons, ElementsAre("interval not reached: ±2.1 % instead of ±1 %"));
  evidence.half_width.reset();
  EXPECT_EQ(judge(evidence).name, "DEGRADED");
}

TEST(Verdict, AHotStartDegrades) {
  Evidence evidence = good();
  evidence.start_doubt = "it began at 50.0 °C";
  EXPECT_EQ(judge(evidence).name, "DEGRADED");
}

TEST(Verdict, HoldsToTheLimitsThatItIsGiven) {
  Evidence evidence = good();
  evidence.foreign_cpu = 0.05;
  evidence.limits.foreign_load = 0.06;
  EXPECT_EQ(judge(evidence).name, "VALID");
}

TEST(Verdict, AnUnsettledWarmUpDegrades) {
  Evidence evidence = good();
  evidence.unsettled_launches = 1;
  EXPECT_EQ(judge(evidence).name, "DEGRADED");
  EXPECT_THAT(judge(evidence).reasons, ElementsAre(HasSubstr("UNSTABLE")));
}

TEST(Verdict, ADeviceThatDriftedDegrades) {
  Evidence evidence = good();
  evidence.reference_off = -0.019;
  EXPECT_EQ(judge(evidence).name, "VALID");
  evidence.reference_off = 0.031;
  EXPECT_EQ(judge(evidence).name, "DEGRADED");
  EXPECT_THAT(judge(evidence).reasons, ElementsAre(HasSubstr("+3.1 % off this device's baseline")));
}

TEST(Verdict, ASecondSessionMustAgree) {
  Evidence evidence = good();
  evidence.second_session_difference = -0.019;
  EXPECT_EQ(judge(evidence).name, "VALID");
  evidence.second_session_difference = -0.021;
  EXPECT_EQ(judge(evidence).name, "DEGRADED");
}

TEST(Verdict, ChangesOfTheDeviceOrTheOutputInvalidate) {
  Evidence evidence = good();
  evidence.foreign_cpu = 0.5;
  evidence.changes.invalidating = {"the firmware reports: throttled"};
  EXPECT_EQ(judge(evidence).name, "INVALID");
  EXPECT_THAT(judge(evidence).reasons, ElementsAre("the firmware reports: throttled", HasSubstr("other processes")));
  evidence = good();
  evidence.signatures_agree = false;
  EXPECT_EQ(judge(evidence).name, "INVALID");
  evidence = good();
  evidence.outputs_finite = false;
  EXPECT_EQ(judge(evidence).name, "INVALID");
}

TEST(Verdict, ATemperatureSlopeDegrades) {
  Evidence evidence = good();
  evidence.changes.degrading = {"the temperature went from 40.0 to 61.0 °C"};
  EXPECT_EQ(judge(evidence).name, "DEGRADED");
}

}  // namespace
}  // namespace finch::agent
