#include "trainer/feature_loss.hpp"

#include <gmock/gmock.h>

#include "gradient_check.hpp"
#include "search/search_space.hpp"
#include "tests/trainer/sample_data.hpp"
#include "trainer/live_teacher.hpp"
#include "trainer/teacher.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {
namespace {

torch::Tensor random(at::IntArrayRef shape, int seed) {
  torch::manual_seed(seed);
  return torch::randn(shape, torch::kDouble);
}

TEST(FeatureLoss, GradientOfHints) {
  expect_gradient(random({2, 3, 2, 2}, 1),
                  [](const torch::Tensor& x) { return hint_loss(x, random({2, 3, 2, 2}, 2)); });
  expect_gradient(random({2, 3, 4, 4}, 1),
                  [](const torch::Tensor& x) { return hint_loss(x, random({2, 3, 2, 2}, 2)); });
}

TEST(FeatureLoss, GradientOfAttention) {
  expect_gradient(random({2, 3, 3, 3}, 1),
                  [](const torch::Tensor& x) { return attention_loss(x, random({2, 5, 3, 3}, 2)); });
  expect_gradient(random({2, 3, 2, 2}, 1),
                  [](const torch::Tensor& x) { return attention_loss(x, random({2, 5, 4, 4}, 2)); });
}

TEST(FeatureLoss, GradientOfRelations) {
  expect_gradient(
      random({4, 3}, 1), [](const torch::Tensor& x) { return relational_loss(x, random({4, 6}, 2)); }, 1e-6);
}

TEST(FeatureLoss, VanishesWhereTheStudentIsLikeItsTeacher) {
  const torch::Tensor map = random({3, 4, 5, 5}, 1), vectors = random({6, 4}, 2);
  EXPECT_EQ(hint_loss(map, map).item<double>(), 0);
  EXPECT_NEAR(attention_loss(map, 7 * map).item<double>(), 0, 1e-20);               // length does not count
  EXPECT_NEAR(relational_loss(vectors, 3 * vectors + 1).item<double>(), 0, 1e-12);  // nor do scale and place
  EXPECT_GT(relational_loss(vectors, vectors.pow(2)).item<double>(), 1e-3);
  EXPECT_GT(attention_loss(map, map.pow(2)).item<double>(), 1e-3);
}

class LiveTeacherTest : public testing::Test {
 protected:
  LiveTeacherTest() {
    torch::manual_seed(1);
    teacher_ = std::make_shared<NetworkModule>(teacher_network({1, kSampleSize, kSampleSize}, kSampleClasses).value(),
                                               data_.mean, data_.stddev);
    teacher_->eval();
  }
  void train_teacher() {
    Training training(*teacher_, data_.train, {}, options(6));
    ASSERT_TRUE(run(training, [](double) {}));
    teacher_->eval();
  }
  static TrainingOptions options(double epochs) {
    return {.epochs = epochs,
            .batch_size = 16,
            .learning_rate = 0.01,
            .weight_decay = 5e-4,
            .loss = {},
            .augmentation = {}};
  }
  search::Network network() const {
    const auto space = *search::make_search_space({"mobilenet", {1, kSampleSize, kSampleSize}, kSampleClasses});
    return space->decode(space->smallest()).value();
  }

  const Dataset data_ = sample_dataset();
  std::shared_ptr<NetworkModule> teacher_;
};

// Without any label: the labels are wrong, and count for nothing beside a teacher that is right.
TEST_F(LiveTeacherTest, EveryKindBringsTheStudentsFeaturesNearerAndTeaches) {
  train_teacher();
  for (const FeatureKind kind : {FeatureKind::hint, FeatureKind::attention, FeatureKind::relational}) {
    torch::manual_seed(2);
    NetworkModule student(network(), data_.mean, data_.stddev);
    auto live = LiveTeacher::with_features(teacher_, student.network(), kind);
    ASSERT_TRUE(live) << live.error().message;
    LiveTeacher& teacher = **live;
    const torch::Tensor images = plain_images(data_.validation, 0, 40);
    const auto distance = [&] {
      const torch::NoGradGuard no_grad;
      student.eval();
      teacher.answer(images);
      student.forward(images, teacher.student_observer());
      return teacher.feature_loss().item<double>();
    };
    const double before = distance();
    ImageSplit mislabelled = data_.train;
    for (std::int32_t& label : mislabelled.labels) label = (label + 1) % kSampleClasses;
    TrainingOptions distilled = options(15);
    distilled.loss = {.temperature = 2, .distillation_weight = 1};
    distilled.feature_weight = 1;
    distilled.augmentation = {.crop_padding = 1, .mixup = 0.2};
    Training training(student, mislabelled, {}, distilled, std::move(*live));
    ASSERT_TRUE(run(training, [](double) {}));
    EXPECT_LT(distance(), 0.7 * before) << static_cast<int>(kind);
    student.eval();
    EXPECT_GE(top1([&](const torch::Tensor& x) { return student.forward(x); }, data_.validation), 0.9)
        << static_cast<int>(kind);
  }
}

TEST_F(LiveTeacherTest, AnswersAloneAreEnough) {
  LiveTeacher teacher([&](const torch::Tensor& images) { return teacher_->forward(images); });
  const torch::Tensor images = plain_images(data_.validation, 0, 8);
  const torch::NoGradGuard no_grad;
  EXPECT_TRUE(torch::equal(teacher.answer(images), teacher_->forward(images)));
  EXPECT_FALSE(teacher.student_observer());
  EXPECT_FALSE(teacher.feature_loss().defined());
  EXPECT_TRUE(teacher.parameters().empty());
}

TEST_F(LiveTeacherTest, StagesEndWhereTheMapShrinks) {
  const search::Network student = network();
  const auto ends = stage_ends(student);
  ASSERT_GE(ends.size(), 2U);
  for (std::size_t i = 0; i < ends.size(); ++i) {
    const auto& shape = student.nodes[static_cast<std::size_t>(ends[i])].shape;
    EXPECT_GT(shape.height, 1);
    const std::size_t before = static_cast<std::size_t>(ends[i == 0 ? 0 : i - 1]);
    EXPECT_TRUE(i == 0 || shape.height < student.nodes[before].shape.height);
  }
  const auto& embedding = student.nodes[static_cast<std::size_t>(embedding_node(student))].shape;
  EXPECT_EQ(embedding.height, 1);
  EXPECT_GT(embedding.channels, kSampleClasses);
}

}  // namespace
}  // namespace finch::trainer
