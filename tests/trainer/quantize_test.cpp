#include "trainer/quantize.hpp"

#include <gtest/gtest.h>

#include "search/search_space.hpp"
#include "tests/trainer/sample_data.hpp"
#include "tests/trainer/skewed_channels.hpp"
#include "trainer/evaluation.hpp"

namespace finch::trainer {
namespace {

class QuantizeTest : public testing::Test {
 protected:
  QuantizeTest() {
    const auto space = search::make_search_space({"mobilenet", {1, kSampleSize, kSampleSize}, kSampleClasses}).value();
    torch::manual_seed(1);
    module_ = std::make_unique<NetworkModule>(space->decode(space->smallest()).value(), data_.mean, data_.stddev);
    Training training(*module_, data_.train, {}, options(15));
    EXPECT_TRUE(run(training, [](double) {}));
    module_->eval();
  }

  static TrainingOptions options(double epochs) {
    return {.epochs = epochs,
            .batch_size = 16,
            .learning_rate = 0.01,
            .weight_decay = 5e-4,
            .loss = {},
            .augmentation = {}};
  }

  std::expected<QuantizedNetwork, Error> quantized(const QuantizeOptions& options) {
    return quantize(*module_, data_, {}, options, [](double) {});
  }

  const Dataset data_ = sample_dataset();
  std::unique_ptr<NetworkModule> module_;
};

TEST_F(QuantizeTest, StopsAtCalibrationWhereThatIsEnough) {
  const auto network = quantized({.calibration = {}, .qat = options(5)});
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_GE(network->report.fp32_top1, 0.9);
  EXPECT_LE(network->report.fp32_top1 - network->report.ptq_top1, 0.005);
  EXPECT_EQ(network->report.int8_top1, network->report.ptq_top1);
  EXPECT_FALSE(network->report.qat_top1);
  EXPECT_FALSE(network->report.trained);
  EXPECT_TRUE(network->report.float_layers.empty());
  EXPECT_GT(network->report.layers, 5);
}

TEST_F(QuantizeTest, TrainingRecoversWhatSkewedChannelsCost) {
  ASSERT_GT(skew_channels(*module_, 1000), 0);
  const std::string before = serialize_tensors(module_->state());
  const auto network = quantized({.calibration = {.method = Calibration::minmax}, .qat = options(15)});
  ASSERT_TRUE(network) << network.error().message;
  const QuantizationReport& report = network->report;
  EXPECT_GE(report.fp32_top1, 0.9);
  EXPECT_LT(report.ptq_top1, report.fp32_top1 - 0.1);
  ASSERT_TRUE(report.qat_top1);
  EXPECT_GE(*report.qat_top1, report.fp32_top1 - 0.05);
  EXPECT_TRUE(report.trained);
  EXPECT_EQ(serialize_tensors(module_->state()), before);
}

TEST_F(QuantizeTest, FloatLayersRecoverItToo) {
  ASSERT_GT(skew_channels(*module_, 1000), 0);
  const auto network = quantized({.calibration = {.method = Calibration::minmax}, .qat = std::nullopt});
  ASSERT_TRUE(network) << network.error().message;
  const QuantizationReport& report = network->report;
  EXPECT_FALSE(report.float_layers.empty());
  EXPECT_LE(std::ssize(report.float_layers), report.layers / 2);
  EXPECT_GT(report.int8_top1, report.ptq_top1);
  const std::set<std::int32_t> of_image = layers_of_image(module_->network());
  EXPECT_EQ(report.image_layers, 1);
  for (std::size_t i = 0; i < module_->network().nodes.size(); ++i) {
    const search::Node& node = module_->network().nodes[i];
    if (!is_layer(node)) continue;
    const bool kept = std::ranges::contains(report.float_layers, node.name);
    const bool reads_image = of_image.contains(static_cast<std::int32_t>(i));
    EXPECT_FALSE(kept && reads_image) << node.name;
    EXPECT_EQ(network->plan.nodes[i].floating, kept || reads_image) << node.name;
  }
}

TEST_F(QuantizeTest, AllIsInt8WhereNoLayerMayStayFloat) {
  ASSERT_GT(skew_channels(*module_, 1000), 0);
  const auto network =
      quantized({.calibration = {.method = Calibration::minmax}, .qat = std::nullopt, .mixed_precision = false});
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_TRUE(network->report.float_layers.empty());
  EXPECT_EQ(network->report.int8_top1, network->report.ptq_top1);
}

TEST_F(QuantizeTest, CalibrationImagesAreDrawnBySeed) {
  const torch::Tensor once = draw_images(data_.train, 20, 7);
  EXPECT_EQ(once.size(0), 20);
  EXPECT_TRUE(torch::equal(once, draw_images(data_.train, 20, 7)));
  EXPECT_FALSE(torch::equal(once, draw_images(data_.train, 20, 8)));
  EXPECT_EQ(draw_images(data_.train, 1'000, 7).size(0), data_.train.size());
}

}  // namespace
}  // namespace finch::trainer
