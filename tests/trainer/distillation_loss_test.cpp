#include "trainer/distillation_loss.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "gradient_check.hpp"

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

void check_gradient(const LossOptions& options, const Mixing& mixing = {}) {
  const Case example = random_case();
  expect_gradient(example.logits, [&](const torch::Tensor& logits) {
    return distillation_loss(logits, example.labels, example.teacher, options, mixing);
  });
}

TEST(DistillationLoss, GradientAgreesWithFiniteDifferences) {
  check_gradient({.label_smoothing = 0.1, .temperature = 4, .distillation_weight = 0.7});
  check_gradient({.label_smoothing = 0, .temperature = 1, .distillation_weight = 1});
  check_gradient({.label_smoothing = 0.2, .temperature = 2, .distillation_weight = 0});
}

TEST(DistillationLoss, GradientOfMixedBatchesAndWeightedClassesToo) {
  const LossOptions options{.label_smoothing = 0.1, .temperature = 3, .distillation_weight = 0.6};
  check_gradient(options, {.share = 0.3});
  check_gradient(options, {.share = 0.3, .teacher_saw_it = true});
  LossOptions weighted = options;
  weighted.class_weights = torch::tensor({0.5F, 2.0F, 1.0F, 0.25F});
  check_gradient(weighted);
  check_gradient(weighted, {.share = 0.8});
}

TEST(DistillationLoss, MixesTheTeachersProbabilitiesLikeTheLabels) {
  const Case example = random_case();
  const LossOptions soft{.temperature = 2, .distillation_weight = 1};
  // What the student should answer is the mixture itself: there the divergence vanishes.
  const torch::Tensor p = torch::softmax(example.teacher / 2, 1);
  const torch::Tensor mixture = 0.7 * p + 0.3 * p.roll(-1, 0);
  EXPECT_NEAR(
      distillation_loss(2 * mixture.log(), example.labels, example.teacher, soft, {.share = 0.7}).item<double>(), 0,
      1e-12);
  // The labels' part is the mean of both labels' losses.
  const auto labels_only = [&](const torch::Tensor& labels) {
    return distillation_loss(example.logits, labels, {}, {}).item<double>();
  };
  EXPECT_NEAR(distillation_loss(example.logits, example.labels, {}, {}, {.share = 0.7}).item<double>(),
              0.7 * labels_only(example.labels) + 0.3 * labels_only(example.labels.roll(-1, 0)), 1e-12);
}

TEST(DistillationLoss, BalancedClassesWeighOneOnAverage) {
  ImageSplit split{.channels = 1, .height = 1, .width = 1, .pixels = {}, .labels = {0, 0, 0, 0, 0, 0, 1, 1, 3}};
  const torch::Tensor weights = balanced_class_weights(split, 4);
  EXPECT_FLOAT_EQ(weights[0].item<float>(), 9.0F / (4 * 6));
  EXPECT_FLOAT_EQ(weights[1].item<float>(), 9.0F / (4 * 2));
  EXPECT_FLOAT_EQ(weights[2].item<float>(), 0);
  EXPECT_FLOAT_EQ(weights[3].item<float>(), 9.0F / 4);
  const torch::Tensor logits = torch::zeros({9, 4});
  const torch::Tensor labels = torch::tensor(split.labels, torch::kLong);
  LossOptions options;
  options.class_weights = weights;
  // Each class gives a fourth of the loss, of those that are there.
  EXPECT_NEAR(distillation_loss(logits, labels, {}, options).item<double>(), 0.75 * std::log(4), 1e-6);
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
