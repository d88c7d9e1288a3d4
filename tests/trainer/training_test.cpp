#include "trainer/training.hpp"

#include <gmock/gmock.h>

#include <fstream>
#include <random>

#include "search/search_space.hpp"
#include "tests/trainer/sample_data.hpp"
#include "tests/trainer/temporary_folder.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/soft_targets.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

class TrainingTest : public testing::Test {
 protected:
  // `choice`: of 0 (the smallest network) and upwards, into every decision that has so many options.
  search::Network network(int choice = 0) const {
    search::Genotype genotype = space_->smallest();
    for (std::size_t i = 0; i < genotype.size(); ++i)
      genotype[i] = std::min(choice, static_cast<int>(space_->decisions()[i].choices.size()) - 1);
    return space_->decode(genotype).value();
  }
  NetworkModule module(int choice = 0, int seed = 1) const {
    torch::manual_seed(seed);
    return {network(choice), data_.mean, data_.stddev};
  }
  static TrainingOptions options(double epochs = 20) {
    return {.epochs = epochs,
            .batch_size = 16,
            .learning_rate = 0.01,
            .weight_decay = 5e-4,
            .loss = {},
            .augmentation = {}};
  }
  double accuracy(NetworkModule& module) const {
    module.eval();
    return top1([&](const torch::Tensor& images) { return module.forward(images); }, data_.validation);
  }

  const Dataset data_ = sample_dataset();
  const std::unique_ptr<search::SearchSpace> space_ =
      *search::make_search_space({"mobilenet", {1, kSampleSize, kSampleSize}, kSampleClasses});
};

TEST_F(TrainingTest, LearnsTheLabels) {
  NetworkModule student = module();
  EXPECT_LT(accuracy(student), 0.6);
  Training training(student, data_.train, {}, options());
  ASSERT_TRUE(run(training, [](double) {}));
  EXPECT_GE(accuracy(student), 0.95);
}

TEST_F(TrainingTest, LearnsFromATeacherAloneWhereLabelsAreWrong) {
  ImageSplit mislabelled = data_.train;
  for (std::int32_t& label : mislabelled.labels) label = (label + 1) % kSampleClasses;
  // A teacher that is always right.
  const torch::Tensor right = torch::one_hot(torch::tensor(data_.train.labels, torch::kLong), kSampleClasses).mul(8);
  const torch::Tensor soft_targets = torch::stack({right, right}, 1).to(torch::kHalf);
  TrainingOptions distilled = options();
  distilled.loss = {.label_smoothing = 0, .temperature = 2, .distillation_weight = 1};
  NetworkModule student = module();
  Training training(student, mislabelled, soft_targets, distilled);
  ASSERT_TRUE(run(training, [](double) {}));
  EXPECT_GE(accuracy(student), 0.95);
}

TEST_F(TrainingTest, StopsWithAReasonWhereTheLossIsNoNumberAndLeavesTheWeightsAlone) {
  torch::Tensor broken = torch::zeros({data_.train.size(), 2, kSampleClasses}, torch::kHalf);
  broken.index_put_({torch::indexing::Slice(), 0, 1}, std::numeric_limits<double>::quiet_NaN());
  TrainingOptions distilled = options();
  distilled.loss.distillation_weight = 0.5;
  NetworkModule student = module();
  Training training(student, data_.train, broken, distilled);
  const auto ran = run(training, [](double) {});
  ASSERT_FALSE(ran);
  EXPECT_THAT(ran.error().message, HasSubstr("diverged"));
  EXPECT_THAT(ran.error().message, HasSubstr("step 1 of"));
  for (const torch::Tensor& parameter : student.parameters()) EXPECT_TRUE(parameter.isfinite().all().item<bool>());
}

TEST_F(TrainingTest, SameSeedSameWeightsOnOneThread) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  std::string bytes[2];
  for (std::string& result : bytes) {
    NetworkModule student = module();
    TrainingOptions augmented = options(2);
    augmented.augmentation = {.flip = true, .crop_padding = 2};
    Training training(student, data_.train, {}, augmented);
    ASSERT_TRUE(run(training, [](double) {}));
    result = serialize_tensors(student.state());
  }
  at::set_num_threads(threads);
  EXPECT_TRUE(bytes[0] == bytes[1]);
}

TEST_F(TrainingTest, ReportsEveryStepAndEndsAtOne) {
  NetworkModule student = module();
  Training training(student, data_.train, {}, options(0.5));
  std::vector<double> fractions;
  const TrainingTiming timing = run(training, [&](double fraction) { fractions.push_back(fraction); }).value();
  EXPECT_EQ(std::ssize(fractions), 5);  // half of 160 images in batches of 16
  EXPECT_TRUE(std::ranges::is_sorted(fractions));
  EXPECT_EQ(fractions.back(), 1.0);
  EXPECT_GT(timing.images_per_second, 0);
}

TEST_F(TrainingTest, AChildInheritsWhatAgreesInNameAndShape) {
  const TemporaryFolder folder;
  NetworkModule parent = module(0, 1);
  write_file(folder.path() / "parent", serialize_tensors(parent.state()));
  const auto loaded = load_tensors(folder.path() / "parent");
  ASSERT_TRUE(loaded) << loaded.error().message;
  NamedTensors before;
  NetworkModule child = module(1, 2);
  for (const auto& [name, tensor] : child.state()) before[name] = tensor.detach().clone();
  std::int64_t expected = 0;
  const std::int64_t inherited = child.inherit(*loaded);
  for (const auto& [name, tensor] : child.state()) {
    const auto of_parent = parent.state().find(name);
    const bool agrees = of_parent != parent.state().end() && of_parent->second.sizes() == tensor.sizes();
    expected += agrees;
    EXPECT_TRUE(torch::equal(tensor, agrees ? of_parent->second : before.at(name))) << name;
  }
  EXPECT_EQ(inherited, expected);
  EXPECT_GT(inherited, 0);
  EXPECT_LT(inherited, std::ssize(child.state()));
}

TEST_F(TrainingTest, ATwinOfItsParentComputesTheSame) {
  NetworkModule parent = module(1, 1), twin = module(1, 2);
  EXPECT_EQ(twin.inherit(parent.state()), std::ssize(parent.state()));
  parent.eval();
  twin.eval();
  const torch::Tensor images = plain_images(data_.test, 0, 8);
  EXPECT_TRUE(torch::equal(parent.forward(images), twin.forward(images)));
}

TEST(TensorFile, NamesWhatIsNoSuchFile) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "weights";
  const auto missing = load_tensors(path);
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr(path.string()));

  const std::string good = serialize_tensors({{"a", torch::arange(100)}, {"b", torch::ones({3, 4})}});
  for (const std::string& bad : {std::string(), std::string("no tensors"), good.substr(0, good.size() / 2)}) {
    write_file(path, bad);
    const auto damaged = load_tensors(path);
    ASSERT_FALSE(damaged) << bad.size();
    EXPECT_THAT(damaged.error().message, HasSubstr(path.string()));
  }
  write_file(path, good);
  EXPECT_TRUE(torch::equal(load_tensors(path).value().at("a"), torch::arange(100)));
}

TEST_F(TrainingTest, SoftTargetsAreTheTeachersAnswersOfPlainAndMirroredImages) {
  NetworkModule teacher = module(1);
  teacher.eval();
  const Classifier classifier = [&](const torch::Tensor& images) { return teacher.forward(images); };
  double last = 0;
  const torch::Tensor targets =
      compute_soft_targets(classifier, data_.train, true, [&](double fraction) { last = fraction; });
  EXPECT_EQ(last, 1.0);
  const torch::NoGradGuard no_grad;
  const torch::Tensor images = plain_images(data_.train, 0, data_.train.size());
  EXPECT_TRUE(torch::allclose(targets.select(1, 0).to(torch::kFloat), classifier(images), 1e-2, 1e-2));
  EXPECT_TRUE(torch::allclose(targets.select(1, 1).to(torch::kFloat), classifier(images.flip(3)), 1e-2, 1e-2));

  const TemporaryFolder folder;
  const auto path = folder.path() / "soft_targets";
  write_file(path, serialize_soft_targets(targets, data_));
  EXPECT_TRUE(torch::equal(load_soft_targets(path, data_, true).value(), targets));
  Dataset other = data_;
  other.split_hash[0] = 'c';
  const auto foreign = load_soft_targets(path, other, true);
  ASSERT_FALSE(foreign);
  EXPECT_THAT(foreign.error().message, HasSubstr("another data set or split"));
  write_file(path, serialize_tensors(teacher.state()));
  EXPECT_FALSE(load_soft_targets(path, data_, true));

  const torch::Tensor plain =
      compute_soft_targets(classifier, data_.train, false, [&](double fraction) { last = fraction; });
  EXPECT_EQ(last, 1.0);
  EXPECT_TRUE(torch::equal(plain.select(1, 0), targets.select(1, 0)));
  EXPECT_EQ(plain.size(1), 1);
  write_file(path, serialize_soft_targets(plain, data_));
  EXPECT_TRUE(load_soft_targets(path, data_, false));
  const auto unmirrored = load_soft_targets(path, data_, true);
  ASSERT_FALSE(unmirrored);
  EXPECT_THAT(unmirrored.error().message, HasSubstr("has not seen mirrored images"));
}

}  // namespace
}  // namespace finch::trainer
