#include "agent/measure.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <format>
#include <set>

#include "agent/measurement_json.hpp"
#include "agent/start_temperature.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

protocol::Deploy one_thread() {
  protocol::Deploy deploy;
  deploy.set_runtime("onnxruntime");
  deploy.set_provider("cpu");
  deploy.set_precision("fp32");
  deploy.set_threads(1);
  deploy.set_batch(1);
  return deploy;
}

// Stands for the measuring process: every round of launch n has the candidate at latency(n, round).
class ScriptedLaunches {
 public:
  std::function<double(int, int)> latency = [](int, int round) { return 2.0 + 0.001 * round; };
  std::function<void(int, LatencyResult&)> change = [](int, LatencyResult&) {};
  std::vector<LaunchRequest> requests;
  int queries_a_round = 100;
  std::string memory_problem;

  Launcher launcher() {
    return [this](const LaunchRequest& request, const std::function<void(double)>& on_progress,
                  const std::stop_token&) -> std::expected<LaunchEvent, Error> {
      requests.push_back(request);
      LaunchEvent event;
      if (request.has_memory()) {
        event.mutable_memory()->set_load_peak_bytes(40 << 20);
        event.mutable_memory()->set_run_peak_bytes(30 << 20);
        event.mutable_memory()->set_runtime_bytes(20 << 20);
        event.mutable_memory()->set_problem(memory_problem);
        return event;
      }
      if (request.has_steady()) {
        const double frames = request.steady().seconds() * request.steady().rate_hz();
        for (int i = 0; i < static_cast<int>(frames); ++i) event.mutable_steady()->add_latency_ms(2.5);
        event.mutable_steady()->set_missed_deadlines(3);
        return event;
      }
      LatencyResult& result = *event.mutable_latency();
      result.set_runtime_version("1.21.0");
      for (int round = 0; round < request.latency().rounds(); ++round) {
        result.add_candidate_median_ms(latency(launches_, round));
        result.add_reference_median_ms(0.5);
        for (int i = 0; i < queries_a_round; ++i) result.add_candidate_ms(latency(launches_, round));
        on_progress((round + 1.0) / request.latency().rounds());
      }
      result.set_warm_up_settled(true);
      result.set_outputs_finite(true);
      result.mutable_load()->set_seconds(4);
      result.mutable_load()->set_foreign_cpu(0.001);
      for (const double value : {0.25, -1.5, 3.0}) result.add_signature(value);
      change(launches_++, result);
      return event;
    };
  }

 private:
  int launches_ = 0;
};

class Measure : public testing::Test {
 protected:
  std::expected<MeasureOutcome, Error> run(const std::string& tier) {
    return measure("model.onnx", one_thread(), *find_tier(tier),
                   {.launcher = launches_.launcher(), .files = SystemFiles(folder_.path())}, {});
  }
  ScriptedLaunches launches_;
  TemporaryFolder folder_;
};

TEST_F(Measure, TakesThreeLaunchesAndItsOwnForMemory) {
  const auto outcome = run("screen");
  ASSERT_TRUE(outcome) << outcome.error().message;
  ASSERT_EQ(launches_.requests.size(), 4U);
  EXPECT_TRUE(launches_.requests[0].has_memory());
  const protocol::Measurement& m = outcome->measurement;
  EXPECT_EQ(m.verdict(), "VALID") << testing::PrintToString(m.reasons());
  EXPECT_EQ(m.runs(), 1200);
  EXPECT_EQ(outcome->latencies_ms.size(), 1200U);
  EXPECT_LE(m.latency_ci_low_ms(), m.latency_median_ms());
  EXPECT_LE(m.latency_median_ms(), m.latency_ci_high_ms());
  EXPECT_LE(m.latency_median_ms(), m.latency_p90_ms());
  EXPECT_LE(m.latency_p90_ms(), m.latency_p99_ms());
  EXPECT_NEAR(m.reference_ratio_median(), 4.003, 1e-3);
  EXPECT_EQ(m.load_peak_bytes(), 40 << 20);
  EXPECT_EQ(m.run_peak_bytes(), 30 << 20);
  EXPECT_FALSE(m.has_energy_gross_mj());
}

TEST_F(Measure, EachLaunchHasAnotherOrder) {
  ASSERT_TRUE(run("screen"));
  EXPECT_NE(launches_.requests[1].latency().seed(), launches_.requests[2].latency().seed());
}

TEST_F(Measure, LooksAgainWhenTheIntervalIsWide) {
  // The launches differ by 6 %, as they do where memory is laid out anew in each.
  launches_.latency = [](int launch, int) { return launch % 2 == 0 ? 2.0 : 2.12; };
  const auto outcome = run("screen");
  ASSERT_TRUE(outcome);
  EXPECT_EQ(launches_.requests.size(), 1U + 5U);  // 20 rounds
  EXPECT_EQ(outcome->measurement.verdict(), "DEGRADED");
  EXPECT_THAT(outcome->measurement.reasons(), ElementsAre(HasSubstr("interval not reached")));
}

TEST_F(Measure, ASecondLookMaySuffice) {
  // One launch of five is off. At 12 rounds its four reach into the interval, at 20 they do not.
  launches_.latency = [](int launch, int round) { return (launch == 1 ? 2.2 : 2.0) + 0.0001 * round; };
  const auto outcome = run("screen");
  ASSERT_TRUE(outcome);
  EXPECT_EQ(launches_.requests.size(), 1U + 5U);
  EXPECT_EQ(outcome->measurement.verdict(), "VALID") << testing::PrintToString(outcome->measurement.reasons());
}

TEST_F(Measure, CertifyHasSixtySecondsAThousandQueriesAndASecondSession) {
  const auto outcome = run("certify");
  ASSERT_TRUE(outcome);
  ASSERT_EQ(launches_.requests.size(), 1U + 3U + 3U);
  double seconds = 0;
  int queries = 0;
  for (int i = 1; i <= 3; ++i) {
    const LatencyTask& task = launches_.requests[static_cast<std::size_t>(i)].latency();
    seconds += task.rounds() * task.candidate_block_seconds();
    queries += task.rounds() * task.candidate_block_queries();
  }
  EXPECT_GE(seconds, 60);
  EXPECT_GE(queries, 1024);
  EXPECT_EQ(outcome->measurement.verdict(), "VALID");
  EXPECT_EQ(outcome->measurement.runs(), 3000);  // of the first session
}

TEST_F(Measure, ASecondSessionThatDiffersDegrades) {
  launches_.latency = [](int launch, int) { return launch < 3 ? 2.0 : 2.06; };
  const auto outcome = run("certify");
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->measurement.verdict(), "DEGRADED");
  EXPECT_THAT(outcome->measurement.reasons(), ElementsAre("the second session differs by +3.0 %"));
}

TEST_F(Measure, OutputsThatDifferInvalidate) {
  launches_.change = [](int launch, LatencyResult& result) {
    if (launch == 2) result.set_signature(1, -1.49);
  };
  EXPECT_EQ(run("quick")->measurement.verdict(), "INVALID");
}

TEST_F(Measure, ForeignLoadIsTheMeanOverTheLaunches) {
  launches_.change = [](int launch, LatencyResult& result) {
    result.mutable_load()->set_foreign_cpu(launch == 0 ? 0.06 : 0.0);
  };
  const auto outcome = run("quick");
  EXPECT_EQ(outcome->measurement.verdict(), "DEGRADED");
  EXPECT_THAT(outcome->measurement.reasons(), ElementsAre("other processes used the processor: 2.0 %"));
}

TEST_F(Measure, ThrottlingInTheMiddleInvalidates) {
  folder_.write("sys/devices/platform/soc/soc:firmware/get_throttled", "0");
  launches_.change = [this](int launch, LatencyResult&) {
    // Seen by the samples of launch 1 only.
    folder_.write("sys/devices/platform/soc/soc:firmware/get_throttled", launch == 0 ? "4" : "0");
  };
  const auto outcome = run("quick");
  EXPECT_EQ(outcome->measurement.verdict(), "INVALID");
  EXPECT_THAT(outcome->measurement.reasons(), ElementsAre("the firmware reports: throttled"));
}

TEST_F(Measure, PercentilesThatNeedMoreQueriesAreNotGiven) {
  launches_.queries_a_round = 20;
  const auto outcome = run("quick");
  EXPECT_EQ(outcome->measurement.verdict(), "VALID");
  EXPECT_GT(outcome->measurement.latency_p90_ms(), 0);
  EXPECT_EQ(outcome->measurement.latency_p99_ms(), 0);
  EXPECT_THAT(outcome->measurement.reasons(), ElementsAre("p99 not given: it needs 662 queries and there were 240"));
  EXPECT_THAT(measurement_json(outcome->measurement, ""), HasSubstr("\"p99\": null, \"runs\": 240"));
}

TEST_F(Measure, AtARateDeadlinesAreCounted) {
  const auto outcome =
      measure("model.onnx", one_thread(), *find_tier("screen"),
              {.launcher = launches_.launcher(), .files = SystemFiles(folder_.path()), .rate_hz = 30}, {});
  ASSERT_TRUE(outcome);
  EXPECT_EQ(launches_.requests.back().steady().rate_hz(), 30);
  const protocol::AtRate& rate = outcome->measurement.at_rate();
  EXPECT_EQ(rate.frames(), 900);
  EXPECT_EQ(rate.missed_deadlines(), 3);
  EXPECT_EQ(rate.latency_median_ms(), 2.5);
  EXPECT_EQ(rate.latency_p99_ms(), 2.5);
  EXPECT_THAT(measurement_text(outcome->measurement), HasSubstr("30 Hz: 3 of 900 deadlines missed"));
  EXPECT_FALSE(run("screen")->measurement.has_at_rate());
}

TEST_F(Measure, StabilityAddsConditionsToTheQuietFigures) {
  MeasureTier tier = *find_tier("stability");
  ASSERT_TRUE(tier.stability);
  tier.stability = StabilityPlan{.curve = Seconds(4), .minute = Seconds(1), .soak = Seconds(0.05), .memory_share = 0};
  launches_.latency = [](int launch, int round) { return (launch > 5 ? 6.0 : 2.0) + 0.001 * round; };
  const auto outcome =
      measure("model.onnx", one_thread(), tier,
              {.launcher = launches_.launcher(), .files = SystemFiles(folder_.path()), .rate_hz = 30}, {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  const protocol::Measurement& m = outcome->measurement;
  EXPECT_EQ(m.verdict(), "VALID") << testing::PrintToString(m.reasons());
  EXPECT_LT(m.latency_median_ms(), 2.1);
  ASSERT_EQ(m.conditions_size(), 2);  // there is no memory to walk through
  EXPECT_EQ(m.conditions(0).name(), "CPU load");
  EXPECT_NEAR(m.conditions(0).slowdown(), 3, 0.01);
  EXPECT_EQ(m.conditions(1).name(), "heat soak");
  EXPECT_EQ(m.minute_median_ms_size(), 4);
  EXPECT_THAT(measurement_json(m, ""), HasSubstr(R"("conditions": [{"name": "CPU load", "latency_ms": {"median": 6.)"));
  EXPECT_THAT(measurement_text(m), HasSubstr("under    CPU load: median 6"));
}

TEST_F(Measure, TheReferenceIsHeldAgainstTheDevicesBaseline) {
  const auto against = [this](double baseline_ms) {
    return measure("model.onnx", one_thread(), *find_tier("quick"),
                   {.launcher = launches_.launcher(), .files = SystemFiles(folder_.path()), .baseline_ms = baseline_ms},
                   {})
        ->measurement;
  };
  EXPECT_EQ(against(0.501).verdict(), "VALID");
  EXPECT_EQ(against(0.501).baseline_ms(), 0.501);
  EXPECT_EQ(against(0.48).verdict(), "DEGRADED");
  EXPECT_THAT(against(0.48).reasons(), Contains(HasSubstr("+4.2 % off this device's baseline")));
  EXPECT_EQ(against(0).baseline_ms(), 0);
}

TEST_F(Measure, WhatTheRuntimeTakesIsToldApart) {
  EXPECT_EQ(run("quick")->measurement.runtime_bytes(), 20 << 20);
}

TEST_F(Measure, PeaksThatAreNotKnownAreNotGiven) {
  launches_.memory_problem = "/proc/self/clear_refs: Permission denied";
  const auto outcome = run("quick");
  EXPECT_EQ(outcome->measurement.load_peak_bytes(), 0);
  EXPECT_THAT(outcome->measurement.reasons(), ElementsAre(HasSubstr("Permission denied")));
}

TEST_F(Measure, WhatCannotBeDeployedIsRefused) {
  protocol::Deploy deploy = one_thread();
  deploy.set_runtime("tensorrt");
  EXPECT_THAT(check_deploy(deploy).error().message, HasSubstr("tensorrt"));
  deploy = one_thread();
  deploy.set_threads(0);
  EXPECT_FALSE(check_deploy(deploy));
  deploy = one_thread();
  deploy.set_batch(0);
  EXPECT_FALSE(check_deploy(deploy));
  EXPECT_TRUE(check_deploy(one_thread()));
}

TEST_F(Measure, AnErrorOfALaunchIsHandedOn) {
  const auto outcome = measure(
      "model.onnx", one_thread(), *find_tier("quick"),
      {.launcher = [](const auto&, const auto&, const auto&) { return std::unexpected(Error{"crashed", true}); },
       .files = SystemFiles(folder_.path())},
      {});
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().message, "crashed");
  EXPECT_TRUE(outcome.error().retryable);
}

TEST_F(Measure, JsonHoldsTheRecord) {
  auto outcome = run("quick");
  ASSERT_TRUE(outcome);
  outcome->measurement.set_device("pi \"5\"");
  const std::string json = measurement_json(outcome->measurement, "raw.f64");
  EXPECT_THAT(json, HasSubstr(R"("device": "pi \"5\"", "profile": null, "runtime": "onnxruntime 1.21.0")"));
  EXPECT_THAT(json, HasSubstr(R"("deploy": {"provider": "cpu", "precision": "fp32", "threads": 1, "batch": 1})"));
  EXPECT_THAT(json, HasSubstr(R"("verdict": "VALID", "reasons": [])"));
  EXPECT_THAT(json, HasSubstr(R"("energy_mj": null, "artifact_sha256": "", "raw": "raw.f64"})"));
}

TEST(EncodeLatencies, IsLittleEndianFloat64) {
  const std::string bytes = encode_latencies({1.0, -2.5});
  ASSERT_EQ(bytes.size(), 16U);
  EXPECT_EQ(bytes.substr(0, 8), std::string("\0\0\0\0\0\0\xf0\x3f", 8));
  EXPECT_EQ(bytes.substr(8, 8), std::string("\0\0\0\0\0\0\x04\xc0", 8));
}

TEST(Tiers, AreConsistent) {
  for (const std::string& name : tier_names()) {
    const auto tier = find_tier(name);
    ASSERT_TRUE(tier);
    EXPECT_GE(tier->looks.front() / tier->rounds_per_launch, 3) << name;
    for (const int look : tier->looks) EXPECT_EQ(look % tier->rounds_per_launch, 0) << name;
  }
  EXPECT_FALSE(find_tier("fast"));
}

// Every field of the message reaches the tier: with one of them it differs in nothing but that.
TEST(Tiers, TakeEveryParameter) {
  const auto everything = [](const MeasureTier& t) {
    std::string text;
    for (const int look : t.looks) text += std::format("{} ", look);
    return text +
           std::format("{} {} {} {} {} {} {} {} {} {} {} ", t.rounds_per_launch, t.half_width,
                       t.candidate_block.count(), t.reference_block.count(), t.candidate_block_queries,
                       t.warm_up.minimum.count(), t.warm_up.cap.count(), t.warm_up.minimum_runs, t.warm_up.agreement,
                       t.memory_runs, t.second_launches) +
           std::format("{} {} {} {} {} {} {} ", t.energy.load.count(), t.energy.idle.count(), t.energy.coverage,
                       t.stability->curve.count(), t.stability->soak.count(), t.stability->memory_share,
                       t.stability->rounds) +
           std::format("{} {} {} {} {} {} {} {}", t.limits.foreign_load, t.limits.reference_drift,
                       t.limits.session_agreement, t.limits.slope_celsius, t.limits.start_tolerance_celsius,
                       t.limits.start_wait.count(), t.limits.signature, t.wishes.ShortDebugString());
  };
  const MeasureTier tier = *find_tier("stability");
  const auto* descriptor = protocol::MeasureParameters::descriptor();
  const auto* reflection = protocol::MeasureParameters::GetReflection();
  std::set<std::string> seen = {everything(tier)};
  EXPECT_EQ(everything(*with_parameters(tier, {})), *seen.begin());
  for (int i = 0; i < descriptor->field_count(); ++i) {
    protocol::MeasureParameters parameters;
    const auto* field = descriptor->field(i);
    if (field->is_repeated()) {
      reflection->AddInt32(&parameters, field, 77);
    } else if (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_INT32) {
      reflection->SetInt32(&parameters, field, 77);
    } else {
      reflection->SetDouble(&parameters, field, 0.777);
    }
    const auto changed = with_parameters(tier, parameters);
    ASSERT_TRUE(changed) << field->name();
    EXPECT_TRUE(seen.insert(everything(*changed)).second) << field->name();
  }
}

TEST(StartTemperature, IsWaitedForAndNoLongerThanTheLimit) {
  TemporaryFolder root;
  root.write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
  const auto heat = [&](int millidegrees) {
    root.write("sys/class/thermal/thermal_zone0/temp", std::to_string(millidegrees) + "\n");
  };
  const SystemFiles files(root.path());
  const auto wait = [&](std::optional<double> reference, MeasureLimits limits, int then) {
    return wait_for_start_temperature(files, reference, limits, [&](double) { heat(then); }, {}).value();
  };
  heat(50'000);
  EXPECT_EQ(wait(std::nullopt, {.start_wait = Seconds(0)}, 0), "") << "never calibrated";
  EXPECT_EQ(wait(48.0, {.start_wait = Seconds(0)}, 0), "") << "2 °C above";
  EXPECT_EQ(wait(60.0, {.start_wait = Seconds(0)}, 0), "") << "colder";
  EXPECT_THAT(wait(45.0, {.start_wait = Seconds(0)}, 0),
              testing::HasSubstr("it began at 50.0 °C, 5.0 °C above the device's start temperature"));
  EXPECT_EQ(wait(45.0, {.start_wait = Seconds(100)}, 46'000), "") << "it cools down";
}

}  // namespace
}  // namespace finch::agent
