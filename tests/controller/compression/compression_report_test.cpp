// What a compression says of its steps.
#include "controller/compression/compression_report.hpp"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

namespace finch::controller {
namespace {

using testing::HasSubstr;

StepState step(const std::string& name, bool kept, double top1, double latency_ms, std::int64_t packed) {
  StepState state;
  state.step = name;
  state.decided = true;
  state.kept = kept;
  state.reason = kept ? "pays" : "does not pay";
  state.validation.emplace().set_top1(top1);
  state.validation->set_samples(1000);
  protocol::Measurement& measurement = state.measurement.emplace();
  measurement.set_verdict("DEGRADED");
  measurement.add_reasons("foreign CPU 3 %");
  measurement.set_latency_median_ms(latency_ms);
  measurement.set_latency_ci_low_ms(0.9 * latency_ms);
  measurement.set_latency_ci_high_ms(1.1 * latency_ms);
  measurement.set_reference_ratio_median(0.5);
  measurement.set_reference_ratio_ci_low(0.4);
  measurement.set_reference_ratio_ci_high(0.6);
  state.model.emplace().set_compressed_bytes(packed);
  state.model->mutable_file()->set_precision("fp32");
  return state;
}

CompressionState compressed() {
  CompressionState state;
  state.config.origin = "runs/a:c012";
  state.finished = "2026-01-01T00:00:00Z";
  state.pipeline.steps = {step("original", true, 0.9, 1, 4096), step("prune=0.3", true, 0.89, 0.5, 2048),
                          step("cluster=2", false, 0.7, 0.5, 1024)};
  state.pipeline.steps[1].test.emplace().set_top1(0.88);
  state.pipeline.steps[1].test->set_samples(10'000);
  return state;
}

TEST(CompressionReport, EveryStepHasItsAccuracyWithItsIntervalItsCostAndItsVerdict) {
  const auto json = nlohmann::json::parse(compression_json(compressed()));
  EXPECT_EQ(json["result"], 1);
  ASSERT_EQ(json["steps"].size(), 3);
  const auto& prune = json["steps"][1];
  const auto& accuracy = prune["accuracy"];
  EXPECT_DOUBLE_EQ(accuracy["validation"], 0.89);
  EXPECT_EQ(accuracy["samples"], 1000);
  EXPECT_NEAR(accuracy["ci_low"], 0.869, 1e-3);  // Wilson's: (0.89 + 1.92 / 1000 -+ 0.0195) / (1 + 3.84 / 1000)
  EXPECT_NEAR(accuracy["ci_high"], 0.908, 1e-3);
  EXPECT_NEAR(accuracy["test_ci_low"], 0.8735, 1e-3);
  EXPECT_EQ(prune["measurement"]["verdict"], "DEGRADED");
  EXPECT_DOUBLE_EQ(prune["latency_ratio"]["ci_high"], 0.6);
  EXPECT_TRUE(json["steps"][0]["latency_ratio"].is_null());
  EXPECT_TRUE(json["steps"][2]["accuracy"]["test"].is_null());
  EXPECT_TRUE(json["steps"][2]["accuracy"]["test_ci_low"].is_null());
  EXPECT_EQ(json["steps"][2]["kept"], false);
}

TEST(CompressionReport, ThePageDrawsLatencyAndSizeAndNeedsNothingElse) {
  const std::string page = compression_html(compressed());
  for (const char* part : {"<canvas id=\"latency\">", "<canvas id=\"size\">", "draw(\"latency\"", "draw(\"size\"",
                           "does not pay", "foreign CPU 3 %", "\"ci_low\":"})
    EXPECT_THAT(page, HasSubstr(part));
  EXPECT_EQ(page.find("{{"), std::string::npos);
  EXPECT_EQ(page.find("<script src"), std::string::npos);
}

TEST(CompressionReport, AStepThatIsNotThereYetLeavesItsFiguresOpen) {
  CompressionState state;
  const auto json = nlohmann::json::parse(compression_json(state));
  EXPECT_EQ(json["status"], "running");
  EXPECT_TRUE(json["steps"][0]["accuracy"]["validation"].is_null());
  EXPECT_TRUE(json["steps"][0]["measurement"].is_null());
}

}  // namespace
}  // namespace finch::controller
