#include "trainer/quantization.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>
#include <random>

namespace finch::trainer {
namespace {

using testing::ElementsAre;
using testing::FloatNear;

float real(int integer, Quantization q) {
  return q.scale * static_cast<float>(integer - q.zero_point);
}

TEST(QuantizationOf, HoldsTheRangeAndZeroExactly) {
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> value(-50, 50);
  for (int i = 0; i < 200; ++i) {
    const float a = value(generator), b = value(generator);
    const ActivationRange range{std::min(a, b), std::max(a, b)};
    const Quantization q = quantization_of(range);
    EXPECT_EQ(real(q.zero_point, q), 0);
    EXPECT_LE(real(0, q), std::min(range.low, 0.0F) + q.scale);
    EXPECT_GE(real(255, q), std::max(range.high, 0.0F) - q.scale);
  }
  EXPECT_GT(quantization_of({0, 0}).scale, 0);
  EXPECT_GT(quantization_of({-1e-38F, 1e-38F}).scale, 1e-20F);
}

TEST(QuantizeLayer, EveryWeightIsWithinHalfAStepOfItsChannel) {
  std::mt19937 generator(2);
  LayerWeights layer;
  for (int channel = 0; channel < 8; ++channel) {
    std::normal_distribution<float> weight(0, std::pow(10.0F, static_cast<float>(channel - 4)));
    for (int i = 0; i < 27; ++i) layer.weight.push_back(weight(generator));
    layer.bias.push_back(weight(generator));
  }
  const QuantizedLayer quantized = quantize_layer(layer, 0.02F);
  for (std::size_t i = 0; i < layer.weight.size(); ++i) {
    const float scale = quantized.weight_scale[i / 27];
    EXPECT_NEAR(scale * quantized.weight[i], layer.weight[i], 0.5F * scale * 1.001F) << i;
  }
  for (std::size_t c = 0; c < layer.bias.size(); ++c) {
    EXPECT_FLOAT_EQ(quantized.bias_scale[c], 0.02F * quantized.weight_scale[c]);
    EXPECT_NEAR(quantized.bias_scale[c] * static_cast<float>(quantized.bias[c]), layer.bias[c],
                0.5F * quantized.bias_scale[c] * 1.001F);
  }
}

TEST(QuantizeLayer, AChannelOfZerosKeepsItsBias) {
  const QuantizedLayer quantized = quantize_layer({.weight = {0, 0, 0}, .bias = {5}}, 0.1F);
  EXPECT_THAT(quantized.weight, ElementsAre(0, 0, 0));
  EXPECT_NEAR(quantized.bias_scale[0] * static_cast<float>(quantized.bias[0]), 5, 1e-3);
}

TEST(QuantizedLayer, IsTransposedForGemm) {
  const QuantizedLayer layer =
      transposed({.weight = {1, 2, 3, 4, 5, 6}, .weight_scale = {}, .bias = {0, 0}, .bias_scale = {}});
  EXPECT_THAT(layer.weight, ElementsAre(1, 4, 2, 5, 3, 6));
}

ActivationRange observed(const std::vector<std::vector<float>>& batches) {
  RangeObserver observer(1);
  for (const auto& batch : batches) observer.observe(0, batch);
  return observer.ranges(Calibration::mse)[0];
}

std::vector<float> normal(std::size_t count, float deviation) {
  std::mt19937 generator(3);
  std::normal_distribution<float> value(0, deviation);
  std::vector<float> values(count);
  for (float& each : values) each = value(generator);
  return values;
}

TEST(RangeObserver, KeepsARangeWithoutOutliers) {
  std::vector<float> values;
  for (int i = 0; i <= 10'000; ++i) values.push_back(static_cast<float>(i) * 4e-4F - 1);
  const ActivationRange range = observed({values});
  EXPECT_THAT(range.low, FloatNear(-1, 0.1F));
  EXPECT_THAT(range.high, FloatNear(3, 0.2F));
}

TEST(RangeObserver, CutsARareOutlierOff) {
  std::vector<float> values = normal(1'000'000, 1);
  values.push_back(100);
  // Least error: d/dh [(100 - h)^2 + n (h - low)^2 / (12 * 255^2)] = 0, with low near -4.9.
  EXPECT_THAT(observed({values}).high, FloatNear(41, 2.5F));
}

TEST(RangeObserver, BatchesAndTheirOrderDoNotMatter) {
  const std::vector<float> small = normal(5'000, 0.01F), large = normal(5'000, 30);
  std::vector<float> all = small;
  all.insert(all.end(), large.begin(), large.end());
  const ActivationRange once = observed({all}), apart = observed({small, large}), reversed = observed({large, small});
  EXPECT_EQ(once.low, reversed.low);
  EXPECT_EQ(once.high, reversed.high);
  EXPECT_EQ(apart.low, reversed.low);
  EXPECT_EQ(apart.high, reversed.high);
}

TEST(RangeObserver, WhatIsNotFiniteIsLeftOut) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::vector<float> values = normal(1'000, 1);
  const ActivationRange clean = observed({values});
  values.insert(values.end(), {kInfinity, -kInfinity, std::nanf("")});
  const ActivationRange range = observed({values});
  EXPECT_EQ(range.low, clean.low);
  EXPECT_EQ(range.high, clean.high);
}

TEST(RangeObserver, ZerosAndNothingAreARangeOfZero) {
  for (const ActivationRange range : {observed({}), observed({{0, 0, 0}})}) {
    EXPECT_EQ(range.low, 0);
    EXPECT_EQ(range.high, 0);
  }
}

ActivationRange observed(const std::vector<float>& values, Calibration calibration) {
  RangeObserver observer(1);
  observer.observe(0, values);
  return observer.ranges(calibration)[0];
}

TEST(RangeObserver, MinMaxKeepsAll) {
  std::vector<float> values = normal(10'000, 1);
  values.push_back(100);
  values.push_back(-7);
  const ActivationRange range = observed(values, Calibration::minmax);
  EXPECT_EQ(range.low, -7);
  EXPECT_EQ(range.high, 100);
}

TEST(RangeObserver, PercentileCutsATenThousandthOff) {
  std::vector<float> values;
  for (int i = 1; i <= 100'000; ++i) values.push_back(static_cast<float>(i) * 1e-3F);
  EXPECT_THAT(observed(values, Calibration::percentile).high, FloatNear(100 - 0.01F, 0.032F));  // a bin is 0.031
  EXPECT_EQ(observed(values, Calibration::percentile).low, 0);
  for (int i = 0; i < 9; ++i) values.push_back(1000);
  EXPECT_THAT(observed(values, Calibration::percentile).high, FloatNear(100, 0.3F));
}

TEST(RangeObserver, EntropyKeepsTheBodyAndDropsTheTail) {
  std::vector<float> values = normal(200'000, 1);
  for (float& value : values) value = std::abs(value);
  const ActivationRange body = observed(values, Calibration::entropy);
  EXPECT_EQ(body.low, 0);
  EXPECT_GT(body.high, 2);
  values.push_back(40);
  EXPECT_LT(observed(values, Calibration::entropy).high, 10);
}

TEST(Calibration, IsNamed) {
  for (const char* name : {"minmax", "percentile", "entropy", "mse"}) {
    EXPECT_STREQ(to_string(parse_calibration(name).value()), name);
  }
  EXPECT_THAT(parse_calibration("best").error().message, testing::HasSubstr("minmax, percentile, entropy, mse"));
}

TEST(ShiftedByThree, ReadsXPlusThree) {
  for (const float high : {0.0F, 0.5F, 3.0F, 10.0F, 200.0F}) {
    const auto q = shifted_by_three(high);
    ASSERT_TRUE(q) << high;
    EXPECT_TRUE(is_shifted_by_three(*q));
    EXPECT_FLOAT_EQ(q->scale * static_cast<float>(q->zero_point), 3);
    EXPECT_GE(real(255, *q), high);
    EXPECT_FLOAT_EQ(real(0, *q), -3);
  }
  EXPECT_FALSE(shifted_by_three(1e4F));
  EXPECT_FALSE(is_shifted_by_three(kUnit));
}

}  // namespace
}  // namespace finch::trainer
