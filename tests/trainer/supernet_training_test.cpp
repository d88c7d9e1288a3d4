#include "trainer/supernet_training.hpp"

#include <gmock/gmock.h>

#include "tests/trainer/sample_data.hpp"
#include "tests/trainer/temporary_folder.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/training_checkpoint.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

class SupernetTrainingTest : public testing::Test {
 protected:
  SupernetTrainingTest() { at::set_num_threads(1); }
  ~SupernetTrainingTest() override { at::set_num_threads(threads_); }

  Supernet fresh() const {
    torch::manual_seed(1);
    return {*space_, data_.mean, data_.stddev};
  }
  // Networks of at most twice the smallest one's MACs: quick ones.
  SupernetOptions options(double epochs) const {
    const auto smallest = search::cost_of(space_->decode(space_->smallest()).value());
    return {.training = {.epochs = epochs,
                         .batch_size = 16,
                         .learning_rate = 0.01,
                         .loss = {.temperature = 2, .distillation_weight = 0.5},
                         .augmentation = {.flip = true, .crop_padding = 1}},
            .limits = {.macs = 2.0 * static_cast<double>(smallest.macs)}};
  }
  // Of a teacher that is always right.
  torch::Tensor soft_targets() const {
    const torch::Tensor right = torch::one_hot(torch::tensor(data_.train.labels, torch::kLong), kSampleClasses).mul(8);
    return torch::stack({right, right}, 1).to(torch::kHalf);
  }

  const int threads_ = at::get_num_threads();
  const Dataset data_ = sample_dataset();
  const std::unique_ptr<search::SearchSpace> space_ =
      *search::make_search_space({"mobilenet", {1, kSampleSize, kSampleSize}, kSampleClasses});
};

TEST_F(SupernetTrainingTest, NetworksLearnThatWereNeverTrainedAlone) {
  Supernet supernet = fresh();
  SupernetTraining training(supernet, *space_, data_.train, soft_targets(), options(12));
  while (training.step() < training.total_steps()) ASSERT_TRUE(training.make_step());
  SubnetSampler others(*space_, options(1).limits, 99);
  auto networks = others.next(SubnetSampling::sandwich, 6).value();
  for (search::Network& network : networks) {
    const auto subnet = supernet.subnet(std::move(network)).value();
    recalibrate(*subnet.module, data_.train, 160);
    EXPECT_GE(top1([&](const torch::Tensor& images) { return subnet.module->forward(images); }, data_.validation), 0.9);
  }
}

TEST_F(SupernetTrainingTest, GoesOnAtAnyStepBitByBit) {
  const TemporaryFolder folder;
  constexpr std::int64_t kSteps = 5;
  std::vector<std::string> after;  // each step
  SupernetOptions settings = options(1);
  const auto steps = steps_of(settings.training, data_.train);
  settings.split_after = 2.0 / static_cast<double>(steps);
  Supernet whole = fresh();
  const std::size_t tensors = whole.weights().size();
  SupernetTraining training(whole, *space_, data_.train, soft_targets(), settings);
  for (std::int64_t i = 0; i < kSteps; ++i) {
    write_file(folder.path() / std::to_string(i), training.checkpoint());
    ASSERT_TRUE(training.make_step());
    after.push_back(whole.serialize());
    EXPECT_EQ(whole.weights().size() > tensors, i >= 2) << i;
  }
  for (std::int64_t i = 0; i < kSteps; ++i) {
    Supernet supernet = fresh();
    SupernetTraining resumed(supernet, *space_, data_.train, soft_targets(), settings);
    ASSERT_TRUE(resumed.restore(folder.path() / std::to_string(i)));
    EXPECT_EQ(resumed.step(), i);
    while (resumed.step() < kSteps) {
      ASSERT_TRUE(resumed.make_step());
      EXPECT_TRUE(supernet.serialize() == after[static_cast<std::size_t>(resumed.step() - 1)]) << i;
    }
    EXPECT_EQ(resumed.images(), training.images());
  }
}

TEST_F(SupernetTrainingTest, AnotherCheckpointIsRefusedAndChangesNothing) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "checkpoint";
  Supernet supernet = fresh();
  SupernetTraining training(supernet, *space_, data_.train, {}, options(1));
  const std::string before = supernet.serialize();
  write_file(path, before);
  const auto refused = training.restore(path);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("not the checkpoint of this supernet"));
  write_file(path, training.checkpoint().substr(0, 1000));
  EXPECT_FALSE(training.restore(path));
  EXPECT_TRUE(supernet.serialize() == before);
}

TEST_F(SupernetTrainingTest, LimitsThatNoNetworkKeepsAreAnError) {
  Supernet supernet = fresh();
  SupernetOptions impossible = options(1);
  impossible.limits.macs = 1;
  SupernetTraining training(supernet, *space_, data_.train, {}, impossible);
  EXPECT_FALSE(training.make_step());
}

TEST(TrainingCheckpointTest, KeepsUntilTheTrainingIsDone) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "checkpoints";
  TrainingCheckpoint checkpoint(path, "key");
  EXPECT_FALSE(checkpoint.found());
  checkpoint.keep_if_due([] { return std::string("here"); });
  ASSERT_TRUE(checkpoint.found());
  EXPECT_EQ(std::filesystem::file_size(*checkpoint.found()), 4u);
  EXPECT_TRUE(TrainingCheckpoint(path, "key").found());
  EXPECT_FALSE(TrainingCheckpoint(path, "other").found());
  checkpoint.discard();
  EXPECT_FALSE(TrainingCheckpoint(path, "key").found());
}

TEST(TrainingCheckpointTest, OldAndHalfWrittenOnesGo) {
  const TemporaryFolder folder;
  for (const char* name : {"old", "new", "tmp.a1b2c3"}) write_file(folder.path() / name, "");
  std::filesystem::last_write_time(folder.path() / "old",
                                   std::filesystem::file_time_type::clock::now() - std::chrono::hours(24 * 31));
  const TrainingCheckpoint checkpoint(folder.path(), "key");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "old"));
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "tmp.a1b2c3"));
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "new"));
}

TEST(TrainingCheckpointTest, WithoutAFolderNothingIsKept) {
  TrainingCheckpoint checkpoint({}, "key");
  checkpoint.keep_if_due([]() -> std::string { throw std::logic_error("asked for"); });
  EXPECT_FALSE(checkpoint.found());
}

}  // namespace
}  // namespace finch::trainer
