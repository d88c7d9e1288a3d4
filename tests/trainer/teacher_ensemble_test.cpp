#include "trainer/teacher_ensemble.hpp"

#include <gmock/gmock.h>

#include "sample_data.hpp"
#include "temporary_folder.hpp"
#include "trainer/batch_source.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

TeacherAnswers random_answers(int seed) {
  torch::manual_seed(seed);
  return {.train = torch::randn({6, 2, 4}).to(torch::kHalf), .validation = torch::randn({3, 4})};
}

TEST(TeacherEnsemble, IsTheMeanOfTheSoftenedProbabilities) {
  const TeacherAnswers a = random_answers(1), b = random_answers(2);
  constexpr double kTemperature = 3;
  const TeacherAnswers both = ensemble({a, b}, kTemperature);
  const auto softened = [&](const torch::Tensor& logits) {
    return torch::softmax(logits.to(torch::kFloat) / kTemperature, -1);
  };
  EXPECT_TRUE(torch::allclose(softened(both.train), (softened(a.train) + softened(b.train)) / 2, 1e-3, 1e-3));
  EXPECT_TRUE(
      torch::allclose(softened(both.validation), (softened(a.validation) + softened(b.validation)) / 2, 1e-5, 1e-5));
  EXPECT_EQ(both.train.scalar_type(), torch::kHalf);
  EXPECT_TRUE(torch::equal(ensemble({a}, kTemperature).train, a.train));
}

TEST(TeacherEnsemble, ReadsWhatAnotherRuntimeAnswered) {
  const Dataset data = sample_dataset();  // 160 and 40 images, 4 classes
  const TemporaryFolder folder;
  const torch::Tensor logits = torch::randn({2, 200, 4});
  const std::string bytes(static_cast<const char*>(logits.data_ptr()), logits.nbytes());
  write_file(folder.path() / "logits", bytes);
  const auto answers = read_answers(folder.path() / "logits", data, true);
  ASSERT_TRUE(answers) << answers.error().message;
  EXPECT_TRUE(torch::equal(answers->validation, logits[0].slice(0, 160)));
  EXPECT_EQ(answers->train.sizes(), (std::vector<std::int64_t>{160, 2, 4}));
  EXPECT_TRUE(torch::equal(answers->train.select(1, 1), logits[1].slice(0, 0, 160).to(torch::kHalf)));

  EXPECT_THAT(read_answers(folder.path() / "logits", data, false).error().message, HasSubstr("it must be made for"));
  write_file(folder.path() / "nan", std::string(bytes.size(), '\xff'));
  EXPECT_THAT(read_answers(folder.path() / "nan", data, true).error().message, HasSubstr("no finite number"));
  EXPECT_THAT(read_answers(folder.path() / "absent", data, true).error().message, HasSubstr("cannot be read"));
}

TEST(TeacherEnsemble, AsksForBothViewsOfTheTrainingImagesAndOneOfTheOthers) {
  const Dataset data = sample_dataset();
  const Classifier left_half = [](const torch::Tensor& images) {
    return images.slice(3, 0, kSampleSize / 2).flatten(1).slice(1, 0, kSampleClasses).contiguous();
  };
  const TeacherAnswers answers = answers_of(left_half, data, true, [](double) {});
  EXPECT_EQ(answers.train.sizes(), (std::vector<std::int64_t>{160, 2, 4}));
  EXPECT_EQ(answers.validation.sizes(), (std::vector<std::int64_t>{40, 4}));
  EXPECT_FALSE(torch::equal(answers.train.select(1, 0), answers.train.select(1, 1)));
}

}  // namespace
}  // namespace finch::trainer
