#include "trainer/supernet.hpp"

#include <gmock/gmock.h>

#include <set>

#include "tests/trainer/sample_data.hpp"
#include "tests/trainer/temporary_folder.hpp"
#include "trainer/batch_source.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

// A space of the user's own, with blocks of every kind.
search::CustomSpaceConfig own_space() {
  using search::BlockType;
  search::CustomSpaceConfig config;
  config.resolution = {12, 16};
  config.width_multiplier = {0.5, 1.0};
  config.activation = {search::ActivationKind::relu, search::ActivationKind::silu};
  config.stages = {{.blocks = {BlockType::convolution, BlockType::separable, BlockType::residual},
                    .depth = {1, 2},
                    .channels = {8, 16},
                    .kernel_size = {3, 5}},
                   {.blocks = {BlockType::inverted_residual, BlockType::shuffle, BlockType::xception},
                    .depth = {1, 2},
                    .channels = {24},
                    .stride = 2,
                    .kernel_size = {3, 5},
                    .expand_ratio = {2, 4},
                    .squeeze_excite = {false, true}}};
  return config;
}

class SupernetTest : public testing::TestWithParam<const char*> {
 protected:
  static std::unique_ptr<search::SearchSpace> make_space(const std::string& name) {
    search::SpaceConfig config{name, {1, kSampleSize, kSampleSize}, kSampleClasses};
    if (name == "own") config.custom = own_space();
    return *search::make_search_space(config);
  }
  static Supernet make(const search::SearchSpace& space) {
    torch::manual_seed(1);
    return {space, {0.3F}, {0.4F}};
  }
  search::Network draw() {
    while (true) {
      if (auto network = space_->decode(space_->random(generator_))) return std::move(*network);
    }
  }

  const std::unique_ptr<search::SearchSpace> space_ = make_space(GetParam());
  std::mt19937_64 generator_{3};
};

TEST_P(SupernetTest, HasTheWeightsOfEveryNetworkOfItsSpace) {
  const Supernet supernet = make(*space_);
  for (int i = 0; i < 300; ++i) {
    const auto subnet = supernet.subnet(draw());
    ASSERT_TRUE(subnet) << subnet.error().message;
  }
}

TEST_P(SupernetTest, SplitByResolutionItComputesTheSameAndLearnsApart) {
  const TemporaryFolder folder;
  Supernet supernet = make(*space_);
  const torch::Tensor images = plain_images(sample_images(8, 1), 0, 8);
  const auto answer = [&](const Supernet& from, const search::Network& network) {
    const torch::NoGradGuard no_grad;
    return from.subnet(network).value().module->forward(images);
  };
  std::vector<search::Network> networks;
  std::vector<torch::Tensor> answers;
  for (int i = 0; i < 20; ++i) {
    networks.push_back(draw());
    answers.push_back(answer(supernet, networks.back()));
  }
  const auto parts = supernet.split_by_resolution(*space_);
  EXPECT_FALSE(parts.empty());
  for (const auto& [part, whole] : parts) {
    EXPECT_TRUE(supernet.weights().contains(part));
    EXPECT_FALSE(supernet.weights().contains(whole));
  }
  write_file(folder.path() / "supernet", supernet.serialize());
  const Supernet again = Supernet::load(folder.path() / "supernet").value();
  for (std::size_t i = 0; i < networks.size(); ++i) {
    EXPECT_TRUE(torch::equal(answer(supernet, networks[i]), answers[i])) << i;
    EXPECT_TRUE(torch::equal(answer(again, networks[i]), answers[i])) << i;
  }
  EXPECT_TRUE(supernet.split_by_resolution(*space_).empty());

  const auto learner = supernet.subnet(networks.front()).value();
  learner.module->forward(images).square().sum().backward();
  supernet.add_gradients(learner);
  std::set<std::string> resolutions;
  for (const auto& [part, whole] : parts) {
    if (supernet.weights().at(part).grad().defined()) resolutions.insert(part.substr(part.find('@')));
  }
  EXPECT_EQ(resolutions.size(), 1u);
}

TEST_P(SupernetTest, ASubnetIsAnOrdinaryNetworkThatComputesTheSame) {
  const TemporaryFolder folder;
  const Supernet supernet = make(*space_);
  const ImageSplit images = sample_images(64, 1);
  const torch::NoGradGuard no_grad;
  for (int i = 0; i < 50; ++i) {
    const auto subnet = supernet.subnet(draw()).value();
    recalibrate(*subnet.module, images, 64);
    write_file(folder.path() / "checkpoint", serialize_tensors(subnet.module->state()));
    NetworkModule ordinary(subnet.module->network(), {0.3F}, {0.4F});
    const NamedTensors checkpoint = load_tensors(folder.path() / "checkpoint").value();
    ASSERT_EQ(ordinary.inherit(checkpoint), std::ssize(ordinary.state()));
    ordinary.eval();
    const torch::Tensor batch = plain_images(images, 0, 8);
    const torch::Tensor difference = ordinary.forward(batch) - subnet.module->forward(batch);
    EXPECT_LE(difference.abs().max().item<double>(), 1e-5);
  }
}

TEST_P(SupernetTest, EveryTensorIsASliceOfASharedOne) {
  const Supernet supernet = make(*space_);
  for (int i = 0; i < 20; ++i) {
    const auto subnet = supernet.subnet(draw()).value();
    std::size_t statistics = 0;
    for (const auto& [name, tensor] : subnet.module->state()) statistics += name.contains("running_");
    EXPECT_EQ(subnet.shares.size() + statistics, subnet.module->state().size());
    for (const auto& [name, own] : subnet.shares) {
      const torch::Tensor& shared = supernet.weights().at(name);
      ASSERT_EQ(shared.dim(), own.dim());
      // By hand, the last element: the first channels, and the middle of a kernel.
      std::vector<at::indexing::TensorIndex> there, here;
      for (std::int64_t d = 0; d < own.dim(); ++d) {
        here.emplace_back(own.size(d) - 1);
        there.emplace_back(d < 2 ? own.size(d) - 1 : (shared.size(d) + own.size(d)) / 2 - 1);
      }
      EXPECT_EQ(own.index(here).item<float>(), shared.index(there).item<float>()) << name;
    }
  }
}

TEST_P(SupernetTest, SurvivesAFile) {
  const TemporaryFolder folder;
  const Supernet supernet = make(*space_);
  write_file(folder.path() / "supernet", supernet.serialize());
  const auto loaded = Supernet::load(folder.path() / "supernet");
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_TRUE(loaded->serialize() == supernet.serialize());
  search::Network network = draw();
  const auto before = supernet.subnet(network).value(), after = loaded->subnet(network).value();
  before.module->eval();
  after.module->eval();
  const torch::Tensor images = plain_images(sample_images(8, 1), 0, 8);
  EXPECT_TRUE(torch::equal(before.module->forward(images), after.module->forward(images)));
}

INSTANTIATE_TEST_SUITE_P(Spaces, SupernetTest, testing::Values("mobilenet", "shufflenet", "nasbench201", "own"),
                         [](const auto& space) { return std::string(space.param); });

TEST_P(SupernetTest, GradientsGoToTheSliceAndAddUp) {
  Supernet supernet = make(*space_);
  const auto subnet = supernet.subnet(draw()).value();
  subnet.module->forward(plain_images(sample_images(8, 1), 0, 8)).square().sum().backward();
  supernet.add_gradients(subnet);
  supernet.add_gradients(subnet);
  for (const auto& [name, own] : subnet.shares) {
    const torch::Tensor& shared = supernet.weights().at(name);
    ASSERT_TRUE(shared.grad().defined()) << name;
    EXPECT_NEAR(shared.grad().abs().sum().item<double>(), 2 * own.grad().abs().sum().item<double>(),
                1e-3 * own.grad().abs().sum().item<double>())
        << name;
  }
}

class SupernetErrors : public SupernetTest {};
INSTANTIATE_TEST_SUITE_P(Spaces, SupernetErrors, testing::Values("mobilenet"));

TEST_P(SupernetErrors, ANetworkOfAnotherSpaceIsRefused) {
  const Supernet supernet = make(*space_);
  const auto other = make_space("shufflenet");
  const auto refused = supernet.subnet(other->decode(other->largest()).value());
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("made for another space"));
}

TEST_P(SupernetErrors, AFileOfSomethingElseIsRefused) {
  const TemporaryFolder folder;
  const auto path = folder.path() / "weights";
  write_file(path, serialize_tensors({{"a", torch::ones({2})}}));
  const auto refused = Supernet::load(path);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("holds no supernet"));
  EXPECT_FALSE(Supernet::load(folder.path() / "missing"));
}

TEST_P(SupernetErrors, RecalibrationSetsTheStatisticsOfTheImages) {
  const Supernet supernet = make(*space_);
  const auto subnet = supernet.subnet(space_->decode(space_->smallest()).value()).value();
  const ImageSplit images = sample_images(600, 1);
  recalibrate(*subnet.module, images, 500);
  const torch::NoGradGuard no_grad;
  torch::Tensor stem;
  subnet.module->train();
  subnet.module->set_momentum(1);
  const torch::Tensor recalibrated = subnet.module->state().at("stem.running_mean").clone();
  subnet.module->forward(plain_images(images, 0, 500));
  EXPECT_TRUE(torch::allclose(recalibrated, subnet.module->state().at("stem.running_mean"), 1e-4, 1e-5));
}

}  // namespace
}  // namespace finch::trainer
