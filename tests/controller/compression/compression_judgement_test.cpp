// When a step of compression stays.
#include <gmock/gmock.h>

#include "controller/compression/compression_state.hpp"

namespace finch::controller {
namespace {

using testing::HasSubstr;

StepState step(double top1, double ratio_low, double ratio_high, std::int64_t deflated = 1000) {
  StepState state;
  state.validation.emplace().set_top1(top1);
  state.validation->set_samples(1000);
  protocol::Measurement& measurement = state.measurement.emplace();
  measurement.set_verdict("VALID");
  measurement.set_reference_ratio_median((ratio_low + ratio_high) / 2);
  measurement.set_reference_ratio_ci_low(ratio_low);
  measurement.set_reference_ratio_ci_high(ratio_high);
  measurement.set_run_peak_bytes(2 << 20);
  state.model.emplace().set_compressed_bytes(deflated);
  state.model->mutable_file()->mutable_artifact()->set_size_bytes(4 * deflated);
  return state;
}

class Judging : public testing::Test {
 protected:
  Judgement judged(const char* name, const StepState& changed) {
    return judge(config_, parse_step(name).value(), original_, base_, changed);
  }
  PipelineConfig config_;
  const StepState original_ = step(0.90, 1, 1), base_ = step(0.91, 1, 1);
};

TEST_F(Judging, AShownGainWithinTheAccuracyStays) {
  const Judgement judgement = judged("quantize", step(0.8955, 0.60, 0.64));
  EXPECT_TRUE(judgement.kept);
  EXPECT_THAT(judgement.reason, HasSubstr("0.620 times the latency (95 % interval 0.600 to 0.640)"));
}

TEST_F(Judging, LostAccuracyIsComparedWithTheOriginalNotWithTheStepBefore) {
  EXPECT_TRUE(judged("prune", step(0.895, 0.6, 0.7)).kept);  // 1.5 points below the step before, 0.5 below the original
  const Judgement judgement = judged("prune", step(0.894, 0.6, 0.7));
  EXPECT_FALSE(judgement.kept);
  EXPECT_THAT(judgement.reason, HasSubstr("0.60 points below the original's 90.00 %, more than the 0.50 points"));
}

TEST_F(Judging, AnIntervalThatHoldsOneShowsNoGain) {
  const Judgement judgement = judged("quantize", step(0.90, 0.96, 1.01));
  EXPECT_FALSE(judgement.kept);
  EXPECT_THAT(judgement.reason, HasSubstr("does not pay"));
}

TEST_F(Judging, AnInvalidMeasurementShowsNothing) {
  StepState changed = step(0.90, 0.5, 0.6);
  changed.measurement->set_verdict("INVALID");
  changed.measurement->add_reasons("throttled");
  EXPECT_THAT(judged("quantize", changed).reason, HasSubstr("INVALID, throttled"));
  EXPECT_FALSE(judged("quantize", changed).kept);
}

TEST_F(Judging, DistillationMustImproveTheAccuracy) {
  EXPECT_TRUE(judged("distill", step(0.912, 0.99, 1.02)).kept);
  EXPECT_FALSE(judged("distill", step(0.910, 0.5, 0.6)).kept);
}

TEST_F(Judging, ClusteringMustShrinkTheDownload) {
  EXPECT_TRUE(judged("cluster", step(0.90, 1.0, 1.1, 400)).kept);
  EXPECT_FALSE(judged("cluster", step(0.90, 0.5, 0.6, 1001)).kept);
  config_.gain = "memory";
  EXPECT_FALSE(judged("cluster", step(0.90, 0.5, 0.6, 400)).kept);
}

}  // namespace
}  // namespace finch::controller
