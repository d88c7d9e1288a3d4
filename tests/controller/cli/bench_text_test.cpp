#include "controller/cli/bench_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace finch::controller {
namespace {

using testing::AllOf;
using testing::HasSubstr;

BenchLine line(const std::string& rival = "") {
  BenchLine line{
      .file = "a.onnx", .rival = rival, .device = "pi", .runtime = "onnxruntime", .measurement = {}, .failure = {}};
  protocol::Measurement& m = line.measurement;
  m.set_device("pi");
  m.set_verdict("DEGRADED");
  m.add_reasons("tasks waited for the disk: 1.7 %");
  m.set_latency_median_ms(2.5);
  m.set_latency_ci_low_ms(2.4);
  m.set_latency_ci_high_ms(2.6);
  m.set_latency_p90_ms(2.8);
  m.set_runs(240);
  m.set_run_peak_bytes(32 << 20);
  return line;
}

BenchLine compared(double low, double median, double high) {
  BenchLine compared = line("b.onnx");
  compared.measurement.set_reference_ratio_median(median);
  compared.measurement.set_reference_ratio_ci_low(low);
  compared.measurement.set_reference_ratio_ci_high(high);
  compared.measurement.set_reference_median_ms(2.5 / median);
  return compared;
}

TEST(BenchText, HasIntervalVerdictAndReason) {
  const std::string text = bench_text({line()});
  EXPECT_THAT(text,
              AllOf(HasSubstr("2.4 .. 2.6"), HasSubstr("DEGRADED\n  tasks waited for the disk"), HasSubstr("32.0")));
}

TEST(BenchText, EnergyCarriesItsProvenance) {
  BenchLine measured = line();
  measured.measurement.set_energy_gross_mj(9);
  measured.measurement.set_energy_net_mj(3.25);
  measured.measurement.set_energy_provenance("wall");
  EXPECT_THAT(bench_text({measured}), HasSubstr("3.25 (wall)"));
}

TEST(BenchText, AVerdictWithoutFiguresShowsNone) {
  BenchLine invalid = line();
  invalid.measurement = {};
  invalid.measurement.set_verdict("INVALID");
  invalid.measurement.add_reasons("used more than 600 s");
  EXPECT_THAT(bench_text({invalid}), AllOf(HasSubstr("INVALID"), testing::Not(HasSubstr(" 0 "))));
}

TEST(BenchText, StabilityShowsWhatTheModelDoesInBadCompany) {
  BenchLine measured = line();
  protocol::Condition& condition = *measured.measurement.add_conditions();
  condition.set_name("CPU load");
  condition.set_latency_median_ms(5);
  condition.set_slowdown(2);
  protocol::Condition& failed = *measured.measurement.add_conditions();
  failed.set_name("memory pressure");
  failed.add_remarks("the measuring process was killed");
  for (const double median : {2.5, 2.75}) measured.measurement.add_minute_median_ms(median);
  EXPECT_THAT(bench_text({measured}),
              AllOf(HasSubstr("under CPU load: median 5 ms, 2.00 times the quiet one"),
                    HasSubstr("under memory pressure: no figures\n    the measuring process was"),
                    HasSubstr("minute by minute, ms: 2.5 2.75\n")));
  const auto json = nlohmann::json::parse(bench_json({measured}));
  EXPECT_EQ(json["measurements"][0]["conditions"][1]["remarks"][0], "the measuring process was killed");
  EXPECT_EQ(json["measurements"][0]["minute_median_ms"], (nlohmann::json{2.5, 2.75}));
}

TEST(Conclusion, NeedsAnIntervalThatLeavesOutOne) {
  EXPECT_EQ(conclusion(compared(0.91, 0.93, 0.96).measurement), "faster");
  EXPECT_EQ(conclusion(compared(1.01, 1.02, 1.03).measurement), "slower");
  EXPECT_EQ(conclusion(compared(0.99, 1.02, 1.03).measurement), "no difference shown");
  EXPECT_EQ(conclusion(line("b.onnx").measurement), "no difference shown");
  BenchLine invalid = compared(0.91, 0.93, 0.96);
  invalid.measurement.set_verdict("INVALID");
  EXPECT_EQ(conclusion(invalid.measurement), "no difference shown");
}

TEST(BenchText, ComparesInASentence) {
  EXPECT_THAT(bench_text({compared(0.91, 0.93, 0.96)}),
              HasSubstr("a.onnx is faster than b.onnx on pi: 0.9300 times the time (95 % interval 0.9100 to 0.9600)"));
  EXPECT_THAT(bench_text({compared(0.99, 1, 1.01)}),
              HasSubstr("No difference between a.onnx and b.onnx is shown on pi"));
}

TEST(BenchJson, HoldsMeasurementsAndComparisons) {
  BenchLine broken{.file = "c.onnx",
                   .rival = "",
                   .device = "pi",
                   .runtime = "onnxruntime",
                   .measurement = {},
                   .failure = "it is no ONNX file"};
  const auto json = nlohmann::json::parse(bench_json({line(), compared(0.91, 0.93, 0.96), broken}));
  ASSERT_EQ(json["measurements"].size(), 3U);
  EXPECT_EQ(json["measurements"][0]["file"], "a.onnx");
  EXPECT_EQ(json["measurements"][0]["latency_ms"]["ci_high"], 2.6);
  EXPECT_EQ(json["measurements"][2]["error"], "it is no ONNX file");
  ASSERT_EQ(json["comparisons"].size(), 1U);
  EXPECT_EQ(json["comparisons"][0]["ratio"]["ci_low"], 0.91);
  EXPECT_EQ(json["comparisons"][0]["conclusion"], "faster");
}

}  // namespace
}  // namespace finch::controller
