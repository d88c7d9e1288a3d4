// What a GPU does must be what the processor does, up to rounding. Skipped where LibTorch can use no GPU.
#include <gmock/gmock.h>

#include "search/search_space.hpp"
#include "tests/trainer/sample_data.hpp"
#include "tests/trainer/temporary_folder.hpp"
#include "trainer/compression_step.hpp"
#include "trainer/compute_device.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/process_group.hpp"
#include "trainer/quantize.hpp"
#include "trainer/supernet_training.hpp"
#include "trainer/teacher.hpp"
#include "trainer/work_graph.hpp"

namespace finch::trainer {
namespace {

class GpuTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto device = choose_device("cuda");
    if (!device) GTEST_SKIP() << device.error().message;
    gpu_ = *device;
  }

  NetworkModule module(int seed = 1) const {
    torch::manual_seed(seed);
    return {space_->decode(space_->smallest()).value(), data_.mean, data_.stddev};
  }
  TrainingOptions options(double epochs, torch::Device device) const {
    return {.epochs = epochs,
            .batch_size = 16,
            .learning_rate = 0.01,
            .loss = {.temperature = 2, .distillation_weight = 0.5},
            .augmentation = {.flip = true, .crop_padding = 1},
            .device = device};
  }
  // Of a teacher that is always right.
  torch::Tensor soft_targets() const {
    const torch::Tensor right = torch::one_hot(torch::tensor(data_.train.labels, torch::kLong), kSampleClasses).mul(8);
    return torch::stack({right, right}, 1).to(torch::kHalf);
  }
  double accuracy(NetworkModule& module) const {
    module.eval();
    return top1([&](const torch::Tensor& images) { return module.forward(images); }, data_.validation);
  }

  torch::Device gpu_ = torch::kCPU;
  const Dataset data_ = sample_dataset();
  const std::unique_ptr<search::SearchSpace> space_ =
      *search::make_search_space({"mobilenet", {1, kSampleSize, kSampleSize}, kSampleClasses});
};

TEST_F(GpuTest, AnswersAsTheProcessorDoesAndComesBack) {
  for (const char* name : {"mobilenet", "shufflenet", "nasbench201"}) {
    const auto space = search::make_search_space({name, {1, kSampleSize, kSampleSize}, kSampleClasses}).value();
    torch::manual_seed(1);
    NetworkModule network(space->decode(space->largest()).value(), data_.mean, data_.stddev);
    network.eval();
    const torch::NoGradGuard no_grad;
    const torch::Tensor images = torch::rand({8, 1, kSampleSize, kSampleSize});
    const torch::Tensor expected = network.forward(images);
    network.move_to(gpu_);
    const torch::Tensor there = network.forward(images);
    EXPECT_TRUE(there.is_cuda()) << name;
    // cuDNN may multiply in TensorFloat-32, of 10 bits.
    EXPECT_TRUE(torch::allclose(there.cpu(), expected, 1e-2, 1e-2 * expected.abs().max().item<double>())) << name;
    network.move_to(torch::kCPU);
    EXPECT_TRUE(torch::equal(network.forward(images), expected)) << name;
  }
}

TEST_F(GpuTest, LearnsWithEveryKindOfLoss) {
  NetworkModule student = module();
  TrainingOptions weighted = options(20, gpu_);
  weighted.loss.class_weights = balanced_class_weights(data_.train, kSampleClasses);
  Training training(student, data_.train, soft_targets(), weighted);
  ASSERT_TRUE(run(training, [](double) {}));
  EXPECT_TRUE(student.device().is_cuda());
  EXPECT_GE(accuracy(student), 0.95);
}

TEST_F(GpuTest, LearnsFromALiveTeachersFeatures) {
  torch::manual_seed(2);
  const auto teacher = std::make_shared<NetworkModule>(
      teacher_network({1, kSampleSize, kSampleSize}, kSampleClasses).value(), data_.mean, data_.stddev);
  Training teaching(*teacher, data_.train, {}, options(6, gpu_));
  ASSERT_TRUE(run(teaching, [](double) {}));
  teacher->eval();
  for (const FeatureKind kind : {FeatureKind::hint, FeatureKind::attention, FeatureKind::relational}) {
    NetworkModule student = module();
    auto live = LiveTeacher::with_features(teacher, student.network(), kind);
    ASSERT_TRUE(live) << live.error().message;
    TrainingOptions mixed = options(20, gpu_);
    mixed.augmentation.mixup = 0.2;
    Training training(student, data_.train, {}, mixed, std::move(*live));
    ASSERT_TRUE(run(training, [](double) {}));
    EXPECT_GE(accuracy(student), 0.9) << static_cast<int>(kind);
  }
}

TEST_F(GpuTest, QuantizesPrunesAndKeepsClusters) {
  NetworkModule network = module();
  Training training(network, data_.train, soft_targets(), options(15, gpu_));
  ASSERT_TRUE(run(training, [](double) {}));
  const auto quantized = quantize(
      network, data_, soft_targets(),
      {.calibration = {}, .allowed_drop = -1, .qat = options(3, gpu_), .mixed_precision = true}, [](double) {});
  ASSERT_TRUE(quantized) << quantized.error().message;
  EXPECT_TRUE(quantized->report.qat_top1);
  EXPECT_GE(quantized->report.int8_top1, 0.9);

  CompressionSteps steps;
  register_builtin_compression_steps(steps);
  std::vector<std::string> notes;
  network.move_to(torch::kCPU);
  Model model{.module = copy_of(network), .class_names = {}, .origin = "trained here"};
  for (const auto& [step, amount] : {std::pair{"prune", 0.3}, std::pair{"cluster", 4.0}}) {
    auto changed = steps.make(step).value()->apply(std::move(model),
                                                   {.dataset = data_,
                                                    .amount = amount,
                                                    .training = options(2, gpu_),
                                                    .soft_targets = soft_targets(),
                                                    .progress = [](double) {}},
                                                   notes);
    ASSERT_TRUE(changed) << changed.error().message;
    model = std::move(*changed);
    EXPECT_FALSE(model.module->device().is_cuda()) << step;
  }
  for (const auto& [name, weight] : model.module->filters())
    EXPECT_LE(std::get<0>(torch::_unique2(weight.detach())).numel(), 16) << name;
}

TEST_F(GpuTest, TrainsASupernetAndGoesOnFromItsCheckpoint) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "checkpoint";
  const auto smallest = search::cost_of(space_->decode(space_->smallest()).value());
  const SupernetOptions settings{.training = options(12, gpu_),
                                 .limits = {.macs = 2.0 * static_cast<double>(smallest.macs)}};
  torch::manual_seed(1);
  Supernet begun(*space_, data_.mean, data_.stddev);
  SupernetTraining first(begun, *space_, data_.train, soft_targets(), settings);
  while (first.step() < 20) ASSERT_TRUE(first.make_step());
  write_file(path, first.checkpoint());

  Supernet supernet(*space_, data_.mean, data_.stddev);
  SupernetTraining training(supernet, *space_, data_.train, soft_targets(), settings);
  ASSERT_TRUE(training.restore(path));
  EXPECT_EQ(training.step(), 20);
  while (training.step() < training.total_steps()) ASSERT_TRUE(training.make_step());
  const auto subnet = supernet.subnet(space_->decode(space_->smallest()).value()).value();
  EXPECT_TRUE(subnet.module->device().is_cuda());
  recalibrate(*subnet.module, data_.train, 160);
  EXPECT_GE(accuracy(*subnet.module), 0.9);
}

TEST_F(GpuTest, PlaysWhatWasRecorded) {
  ASSERT_TRUE(WorkGraph::can_record(gpu_));
  torch::Tensor sum = torch::zeros({}, gpu_), summand = torch::ones({}, gpu_);
  WorkGraph graph(gpu_);
  for (int i = 0; i < 10; ++i) {
    summand.fill_(i);
    graph.run([&] { sum += summand * 2; });
  }
  EXPECT_TRUE(graph.played());
  EXPECT_EQ(sum.item<float>(), 90);
}

TEST_F(GpuTest, DoesAsItIsWhatCannotBeRecorded) {
  torch::Tensor sum = torch::zeros({}, gpu_);
  WorkGraph graph(gpu_);
  for (int i = 0; i < 10; ++i) graph.run([&] { sum += sum.item<float>() + 1; });
  EXPECT_FALSE(graph.played());
  EXPECT_EQ(sum.item<float>(), 1023);
}

TEST_F(GpuTest, RecordedStepsAreThoseOfTheProcessor) {
  for (const char* name : {"mobilenet", "shufflenet"}) {
    const auto space = search::make_search_space({name, {1, kSampleSize, kSampleSize}, kSampleClasses}).value();
    std::vector<double> accuracies;
    for (const torch::Device device : {torch::Device(torch::kCPU), gpu_}) {
      torch::manual_seed(1);
      NetworkModule network(space->decode(space->smallest()).value(), data_.mean, data_.stddev);
      Training training(network, data_.train, soft_targets(), options(20, device));
      ASSERT_TRUE(run(training, [](double) {}));
      accuracies.push_back(accuracy(network));
    }
    EXPECT_NEAR(accuracies[1], accuracies[0], 0.1) << name;
  }
}

TEST_F(GpuTest, StopsARecordedTrainingThatDiverges) {
  NetworkModule network = module();
  TrainingOptions wild = options(20, gpu_);
  wild.learning_rate = 1e30;
  Training training(network, data_.train, soft_targets(), wild);
  const auto ran = run(training, [](double) {});
  ASSERT_FALSE(ran);
  EXPECT_THAT(ran.error().message, testing::HasSubstr("the training diverged"));
}

// One process is all that one GPU allows; more need more GPUs.
TEST_F(GpuTest, SumsGradientsThroughNccl) {
  const auto group = ProcessGroup::meet({.rank = 0, .processes = 1, .port = free_port().value()}, gpu_);
  ASSERT_TRUE(group) << group.error().message;
  torch::Tensor parameter = torch::ones({3}, gpu_).requires_grad_();
  parameter.mutable_grad() = torch::full({3}, 2.0, gpu_);
  EXPECT_EQ((*group)->sum_gradients({parameter}, 7), 7);
  EXPECT_TRUE(torch::equal(parameter.grad().cpu(), torch::full({3}, 2.0)));
}

TEST(ComputeDevice, IsTheProcessorWhereThatIsAskedFor) {
  EXPECT_EQ(choose_device("cpu").value(), torch::Device(torch::kCPU));
  EXPECT_EQ(usable_devices().front(), torch::Device(torch::kCPU));
  EXPECT_EQ(choose_device("auto").value().is_cuda(), usable_devices().size() > 1);
}

TEST(ComputeDevice, SaysWhatIsWrongWithAName) {
  EXPECT_THAT(choose_device("gpu").error().message, testing::HasSubstr("auto, cpu, cuda or cuda:N"));
  EXPECT_THAT(choose_device("cuda:99").error().message, testing::HasSubstr("--device cuda:99"));
  if (!at::globalContext().hasCUDART()) {
    EXPECT_THAT(choose_device("cuda").error().message, testing::HasSubstr("scripts/install-libtorch cuda"));
  }
}

}  // namespace
}  // namespace finch::trainer
