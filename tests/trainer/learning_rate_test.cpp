#include "trainer/learning_rate.hpp"

#include <gtest/gtest.h>

namespace finch::trainer {
namespace {

TEST(LearningRate, WarmsUpLinearlyThenFallsAsACosine) {
  EXPECT_EQ(warm_up_steps(100), 10);
  EXPECT_DOUBLE_EQ(learning_rate_at(0.5, 0, 100), 0.05);
  EXPECT_DOUBLE_EQ(learning_rate_at(0.5, 4, 100), 0.25);
  EXPECT_DOUBLE_EQ(learning_rate_at(0.5, 9, 100), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_at(0.5, 10, 100), 0.5);
  EXPECT_NEAR(learning_rate_at(0.5, 55, 100), 0.25, 1e-12);
  EXPECT_NEAR(learning_rate_at(0.5, 99, 100), 0, 1e-3);
  for (std::int64_t step = 11; step < 100; ++step) {
    EXPECT_LT(learning_rate_at(0.5, step, 100), learning_rate_at(0.5, step - 1, 100));
  }
}

TEST(LearningRate, ServesASingleStep) {
  EXPECT_DOUBLE_EQ(learning_rate_at(0.5, 0, 1), 0.5);
}

}  // namespace
}  // namespace finch::trainer
