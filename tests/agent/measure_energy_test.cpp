// The energy of the reference network, run by the real measuring process, sampled from a real program.
#include "agent/measure_energy.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/command_power.hpp"
#include "agent/latency_statistics.hpp"
#include "agent/launch.pb.h"
#include "agent/measure.hpp"
#include "agent/measurement_json.hpp"
#include "tests/agent/temporary_folder.hpp"

namespace finch::agent {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr double kAnyLatency = 1e9;  // as tolerance

class Energy : public testing::Test {
 protected:
  TemporaryFolder folder_;
  std::filesystem::path loaded_ = folder_.path() / "loaded";

  std::string meter(const std::string& idle, const std::string& loaded) const {
    return (agent_program().parent_path() / "power_meter").string() + " " + loaded_.string() + " " + idle + " " +
           loaded;
  }
  static LaunchRequest request() {
    LaunchRequest request;
    request.set_model(reference_model().string());
    request.set_provider("cpu");
    request.set_threads(1);
    request.set_batch(1);
    return request;
  }
  // The real process; the meter is told when it works.
  Launcher launcher() const {
    return [this, real = process_launcher({.program = agent_program()})](
               const LaunchRequest& request, const std::function<void(double)>& on_progress, std::stop_token stop) {
      auto event = real(
          request,
          [&](double share) {
            folder_.write("loaded", "");
            if (on_progress) on_progress(share);
          },
          stop);
      std::filesystem::remove(loaded_);
      return event;
    };
  }
  std::expected<EnergyOutcome, Error> measure_with(PowerSensor& sensor, double expected_ms = 1,
                                                   double tolerance = kAnyLatency) const {
    return measure_energy(request(), {.load = Seconds(1), .idle = Seconds(0.3)},
                          {.minimum = Seconds(0.05), .cap = Seconds(0.1), .agreement = 0.5}, sensor, expected_ms,
                          tolerance, launcher(), {}, {});
  }
};

TEST_F(Energy, IsGrossAndNetOfIdle) {
  const auto sensor = open_command_power(meter("2", "5"), PowerProvenance::kWall);
  const auto outcome = measure_with(*sensor);
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_THAT(outcome->doubts, IsEmpty());
  ASSERT_TRUE(outcome->gross_mj && outcome->net_mj);
  EXPECT_EQ(outcome->provenance, PowerProvenance::kWall);
  EXPECT_NEAR(*outcome->gross_mj / *outcome->net_mj, 5.0 / 3.0, 0.2);
  // Watts times milliseconds are millijoules; the mean latency is not below the half of the median.
  const std::vector<double> latencies(outcome->run.latency_ms().begin(), outcome->run.latency_ms().end());
  EXPECT_GT(*outcome->gross_mj, 5 * median(latencies) / 2);
}

TEST_F(Energy, OfAnIdleBoardIsADoubt) {
  const auto sensor = open_command_power(meter("5", "5"), PowerProvenance::kExternal);
  const auto outcome = measure_with(*sensor);
  ASSERT_TRUE(outcome && outcome->net_mj);
  EXPECT_NEAR(*outcome->net_mj, 0, 0.001);
  const auto falling = open_command_power(meter("5", "4"), PowerProvenance::kExternal);
  EXPECT_THAT(measure_with(*falling)->doubts, ElementsAre(HasSubstr("no more under load than idle")));
}

TEST_F(Energy, AnotherLatencyThanWithoutASamplerIsADoubt) {
  const auto sensor = open_command_power(meter("2", "5"), PowerProvenance::kWall);
  const auto outcome = measure_with(*sensor, 1000, 0.01);
  EXPECT_THAT(outcome->doubts, ElementsAre(HasSubstr("while the power was sampled")));
  EXPECT_TRUE(outcome->gross_mj);
}

TEST_F(Energy, AMeterThatStopsGivesNoFigure) {
  const auto sensor = open_command_power("timeout 0.5 " + meter("2", "5"), PowerProvenance::kWall);
  const auto outcome = measure_with(*sensor);
  ASSERT_TRUE(outcome);
  EXPECT_FALSE(outcome->gross_mj);
  EXPECT_THAT(outcome->doubts, Contains(AllOf(HasSubstr("energy not given"), HasSubstr("has ended"))));
}

TEST_F(Energy, TheSilentMeterGivesNoFigure) {
  const auto sensor = open_command_power("exec sleep 1000", PowerProvenance::kWall);
  EXPECT_FALSE(measure_with(*sensor)->gross_mj);
}

TEST_F(Energy, AStopIsRetryable) {
  std::stop_source stop;
  stop.request_stop();
  const auto sensor = open_command_power(meter("2", "5"), PowerProvenance::kWall);
  const auto outcome = measure_energy(request(), {}, {}, *sensor, 1, 1, launcher(), {}, stop.get_token());
  ASSERT_FALSE(outcome);
  EXPECT_TRUE(outcome.error().retryable);
}

TEST_F(Energy, AtARateIsAFramesWithTheIdleTimeBetween) {
  const auto sensor = open_command_power(meter("5", "5"), PowerProvenance::kWall);
  const auto outcome = measure_energy(request(), {.load = Seconds(1), .idle = Seconds(0.3), .rate_hz = 20},
                                      {.minimum = Seconds(0.05), .cap = Seconds(0.1), .agreement = 0.5}, *sensor, 1000,
                                      0.01, launcher(), {}, {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->run.latency_ms_size(), 20);
  ASSERT_TRUE(outcome->gross_mj) << testing::PrintToString(outcome->doubts);
  EXPECT_NEAR(*outcome->gross_mj, 5000.0 / 20, 5);  // 5 W for a twentieth of a second
}

TEST_F(Energy, IsPartOfAMeasurement) {
  protocol::Deploy deploy;
  deploy.set_runtime("onnxruntime");
  deploy.set_provider("cpu");
  deploy.set_threads(1);
  deploy.set_batch(1);
  MeasureTier tier = *find_tier("quick");
  tier.energy = {.load = Seconds(0.5), .idle = Seconds(0.3)};
  const auto outcome = measure(reference_model(), deploy, tier,
                               {.launcher = process_launcher({.program = agent_program()}),
                                .files = SystemFiles(folder_.path()),
                                .power = {.command = meter("3", "3"), .command_provenance = PowerProvenance::kWall}},
                               {});
  ASSERT_TRUE(outcome) << outcome.error().message;
  const protocol::Measurement& m = outcome->measurement;
  ASSERT_TRUE(m.has_energy_gross_mj()) << testing::PrintToString(m.reasons());
  EXPECT_EQ(m.energy_provenance(), "wall");
  EXPECT_GT(m.energy_gross_mj(), 0);
  EXPECT_THAT(measurement_json(m, ""), HasSubstr(R"("provenance": "wall"})"));
  EXPECT_THAT(measurement_text(m), HasSubstr("mJ gross"));
}

}  // namespace
}  // namespace finch::agent
