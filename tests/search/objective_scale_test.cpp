#include "search/objective_scale.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <random>
#include <vector>

namespace finch::search {
namespace {

std::vector<double> log_normal(std::size_t count) {
  std::mt19937_64 generator(3);
  std::vector<double> values;
  for (std::size_t i = 0; i < count; ++i) {
    double sum = -6;
    for (int k = 0; k < 12; ++k) sum += static_cast<double>(generator() >> 11) * 0x1.0p-53;
    values.push_back(std::exp(0.5 * sum));
  }
  return values;
}

TEST(PowerTransform, FindsTheLogarithmOfALogNormalSample) {
  const auto values = log_normal(500);
  const PowerTransform transform(values);
  EXPECT_NEAR(transform.power(), 0, 0.5);
  double sum = 0, squares = 0;
  for (const double value : values) {
    const double x = transform.forward(value);
    sum += x;
    squares += x * x;
    EXPECT_NEAR(transform.inverse(x), value, 1e-6 * value);
  }
  EXPECT_NEAR(sum / 500, 0, 1e-9);
  EXPECT_NEAR(squares / 500, 1, 1e-9);
}

TEST(PowerTransform, KeepsTheOrderOfAnyValues) {
  for (const std::vector<double>& values :
       {std::vector{0.0, 0.0, 1.0, 90.0}, std::vector{-5.0, -1.0, 3.0}, std::vector{1e-9, 1.0, 1e9}}) {
    const PowerTransform transform(values);
    for (std::size_t i = 1; i < values.size(); ++i) {
      EXPECT_LE(transform.forward(values[i - 1]), transform.forward(values[i]));
      EXPECT_TRUE(std::isfinite(transform.forward(values[i])));
    }
    EXPECT_TRUE(std::isfinite(transform.inverse(50)) && std::isfinite(transform.inverse(-50)));
  }
}

TEST(PowerTransform, AConstantIsNoObstacle) {
  for (const double value : {0.0, -3.0, 7.0}) {
    const PowerTransform transform(std::vector(5, value));
    EXPECT_NEAR(transform.forward(value), 0, 1e-12);
    EXPECT_NEAR(transform.inverse(0), value, 1e-9);
  }
}

TEST(UtilityScale, IsLinearToTheFenceAndFlatBeyond) {
  std::vector<double> values;
  for (int i = 0; i <= 100; ++i) values.push_back(i);
  const UtilityScale utility(values);  // quartiles 25 and 75, fence 150
  EXPECT_DOUBLE_EQ(utility(100) - utility(50), 1);
  EXPECT_DOUBLE_EQ(utility.fence(), 3);
  EXPECT_GT(utility(1000), utility(150));
  EXPECT_LT(utility(1000) - utility(150), 3);
  EXPECT_TRUE(std::isfinite(UtilityScale(std::vector(3, 0.0))(1)));
}

}  // namespace
}  // namespace finch::search
