#include "trainer/distillation_loss.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace finch::trainer {
namespace {

struct Case {
  torch::Tensor logits, labels, teacher;
};

Case random_case() {
  torch::manual_seed(3);
  return {torch::randn({5, 4}, torch::kDouble), torch::tensor({0, 3, 1, 2, 2}, torch::kLong),
          torch::randn({5, 4}, torch::kDouble)};
}

void check_gradient(const LossOptions& options) {
  const Case example = random_case();
  const torch::Tensor logits = example.logits.clone().requires_grad_();
  distillation_loss(logits, example.labels, example.teacher, options).backward();
  constexpr double kStep = 1e-5;
  for (std::int64_t i = 0; i < 5; ++i) {
    for (std::int64_t j = 0; j < 4; ++j) {
      const auto loss_at = [&](double shift) {
        torch::Tensor moved = example.logits.clone();
        moved[i][j] += shift;
        return distillation_loss(moved, example.labels, example.teacher, options).item<double>();
      };
      const double expected = (loss_at(kStep) - loss_at(-kStep)) / (2 * kStep);
      EXPECT_NEAR(logits.grad()[i][j].item<double>(), expected, 1e-8) << i << ", " << j;
    }
  }
}

TEST(DistillationLoss, GradientAgreesWithFiniteDifferences) {
  check_gradient({.label_smoothing = 0.1, .temperature = 4, .distillation_weight = 0.7});
  check_gradient({.label_smoothing = 0, .temperature = 1, .distillation_weight = 1});
  check_gradient({.label_smoothing = 0.2, .temperature = 2, .distillation_weight = 0});
}

TEST(DistillationLoss, IsTheFormulaOfThePaper) {
  const torch::Tensor student = torch::tensor({{1.0, 3.0}}, torch::kDouble);
  const torch::Tensor teacher = torch::tensor({{2.0, 0.0}}, torch::kDouble);
  const torch::Tensor label = torch::tensor({1}, torch::kLong);
  constexpr double kTemperature = 2, kWeight = 0.25;
  const auto first_of_two = [](double a, double b, double t) { return 1 / (1 + std::exp((b - a) / t)); };
  const double p = first_of_two(2, 0, kTemperature), q = first_of_two(1, 3, kTemperature);
  const double divergence = p * std::log(p / q) + (1 - p) * std::log((1 - p) / (1 - q));
  const double cross_entropy = -std::log(1 - first_of_two(1, 3, 1));
  const LossOptions options{.label_smoothing = 0, .temperature = kTemperature, .distillation_weight = kWeight};
  EXPECT_NEAR(distillation_loss(student, label, teacher, options).item<double>(),
              (1 - kWeight) * cross_entropy + kWeight * kTemperature * kTemperature * divergence, 1e-12);
}

TEST(DistillationLoss, WithoutATeacherCountsLabelsFully) {
  const Case example = random_case();
  const double with_weight =
      distillation_loss(example.logits, example.labels, {}, {.distillation_weight = 0.9}).item<double>();
  const double labels_only = distillation_loss(example.logits, example.labels, {}, {}).item<double>();
  EXPECT_DOUBLE_EQ(with_weight, labels_only);
}

TEST(DistillationLoss, VanishesWhenTheStudentEqualsTheTeacher) {
  const Case example = random_case();
  EXPECT_NEAR(
      distillation_loss(example.teacher, example.labels, example.teacher, {.temperature = 3, .distillation_weight = 1})
          .item<double>(),
      0, 1e-12);
}

}  // namespace
}  // namespace finch::trainer
