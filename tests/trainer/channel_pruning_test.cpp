#include "trainer/channel_pruning.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "search/cost_model.hpp"
#include "tests/search/sample_spaces.hpp"
#include "tests/trainer/sample_data.hpp"
#include "trainer/batch_source.hpp"
#include "trainer/distillation_loss.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

// BatchNorm as after training: no statistic is the identity's.
NetworkModule disturbed_module(const search::Network& network) {
  const torch::NoGradGuard no_grad;
  const auto channels = static_cast<std::size_t>(network.input_shape().channels);
  NetworkModule module(network, std::vector<float>(channels, 0.3F), std::vector<float>(channels, 0.25F));
  for (const auto& [name, tensor] : module.state()) {
    if (name.ends_with(".running_mean") || name.ends_with(".shift") || name.ends_with(".bias"))
      tensor.detach().normal_(0, 0.2);
    if (name.ends_with(".running_var") || name.ends_with(".scale")) tensor.detach().uniform_(0.6, 1.4);
  }
  module.eval();
  return module;
}

// The channels' filters and BatchNorm become zero, and with them what they compute.
void silence(const NetworkModule& module, const std::vector<search::ChannelUnit>& units) {
  const torch::NoGradGuard no_grad;
  for (const search::ChannelUnit& unit : units) {
    for (const auto& [node, channel] : unit.channels) {
      const std::string& name = module.network().nodes[static_cast<std::size_t>(node)].name;
      for (const char* tensor : {".weight", ".bias", ".scale", ".shift"}) {
        const auto found = module.state().find(name + tensor);
        if (found != module.state().end()) found->second.detach()[channel].zero_();
      }
    }
  }
}

class ChannelRemoval : public testing::TestWithParam<search::NamedSpace> {};

INSTANTIATE_TEST_SUITE_P(Spaces, ChannelRemoval, testing::ValuesIn(search::small_image_spaces()),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST_P(ChannelRemoval, OfSilentChannelsDoesNotChangeTheOutputs) {
  std::mt19937_64 generator(3);
  torch::manual_seed(3);
  const torch::NoGradGuard no_grad;
  for (int i = 0; i < 8; ++i) {
    const search::Network network = search::random_network(GetParam().config, generator);
    const auto units = search::random_selection(network, search::channel_groups(network), generator);
    NetworkModule module = disturbed_module(network);
    silence(module, units);
    const auto pruned = without_channels(module, search::remove_channels(network, units).value());
    pruned->eval();
    const search::TensorShape& image = network.input_shape();
    const torch::Tensor images = torch::rand({3, image.channels, image.height, image.width});
    const torch::Tensor expected = module.forward(images);
    EXPECT_GT(expected.std().item<double>(), 1e-3);
    const double scale = std::max(1.0, expected.abs().max().item<double>());
    EXPECT_LE((pruned->forward(images) - expected).abs().max().item<double>(), 1e-5 * scale);
    EXPECT_LT(search::cost_of(pruned->network()).parameters, search::cost_of(network).parameters);
  }
}

class ChannelPruningTest : public testing::Test {
 protected:
  NetworkModule module() const {
    torch::manual_seed(1);
    std::mt19937_64 generator(4);
    return {search::random_network({"mobilenet", {1, kSampleSize, kSampleSize}, kSampleClasses}, generator), data_.mean,
            data_.stddev};
  }
  double accuracy(NetworkModule& module) const {
    module.eval();
    return top1([&](const torch::Tensor& images) { return module.forward(images); }, data_.validation);
  }
  void train(NetworkModule& module, double epochs) const {
    Training training(module, data_.train, {}, {.epochs = epochs, .batch_size = 16, .loss = {}, .augmentation = {}});
    ASSERT_TRUE(run(training, [](double) {}));
  }

  const Dataset data_ = sample_dataset();
};

TEST_F(ChannelPruningTest, AHalvedNetworkLearnsAgain) {
  NetworkModule whole = module();
  train(whole, 12);
  ASSERT_GE(accuracy(whole), 0.95);
  for (const auto criterion : {ImportanceCriterion::l2, ImportanceCriterion::taylor}) {
    SCOPED_TRACE(to_string(criterion));
    const auto pruned = prune_channels(
        whole, data_.train, {.criterion = criterion, .target = {.keep = 0.5, .min_channels = 4, .multiple = 4}});
    ASSERT_TRUE(pruned) << pruned.error().message;
    EXPECT_LE(pruned->after.macs, pruned->before.macs / 2);
    EXPECT_LT(pruned->after.parameters, pruned->before.parameters);
    EXPECT_LT(pruned->after.file_bytes, pruned->before.file_bytes);
    EXPECT_EQ(pruned->after.parameters, search::cost_of(pruned->module->network()).parameters);
    train(*pruned->module, 4);
    EXPECT_GE(accuracy(*pruned->module), 0.9);
  }
}

TEST_F(ChannelPruningTest, SilentChannelsAreTheLeastImportant) {
  const auto groups_of = [](const NetworkModule& of) { return search::channel_groups(of.network()); };
  for (const auto criterion : {ImportanceCriterion::l1, ImportanceCriterion::l2, ImportanceCriterion::batch_norm,
                               ImportanceCriterion::taylor}) {
    SCOPED_TRACE(to_string(criterion));
    NetworkModule of = module();
    const auto groups = groups_of(of);
    const std::vector<search::ChannelUnit> silent = {groups.front().units[1], groups.back().units[0]};
    silence(of, silent);
    const auto importance = channel_importance(of, groups, criterion, data_.train, 4);
    EXPECT_EQ(importance.front()[1], 0);
    EXPECT_EQ(importance.back()[0], 0);
    EXPECT_GT(importance.front()[0], 0);
    EXPECT_GT(importance.back()[1], 0);
  }
}

// Taylor's importance of a unit against the loss with what reads the unit scaled by 1 + e and 1 - e.
TEST_F(ChannelPruningTest, TaylorIsTheSquaredDerivativeByAGateOfTheUnit) {
  NetworkModule of = disturbed_module(module().network());
  const auto groups = search::channel_groups(of.network());
  const ImageSplit& images = data_.train;
  const auto importance = channel_importance(of, groups, ImportanceCriterion::taylor, images, 1);
  Batch batch = BatchSource(images, 64, {}, 1).next();
  const torch::NoGradGuard no_grad;
  const auto loss = [&] { return distillation_loss(of.forward(batch.images), batch.labels, {}, {}).item<double>(); };
  int compared = 0;
  for (std::size_t i = 0; i < 4 * groups.size(); ++i) {
    const std::size_t g = i / 4, u = i % 4;
    const search::ChannelUnit& unit = groups[g].units[u];
    const auto scale = [&](double factor) {
      for (const auto& [node, channel] : unit.read_by) {
        const std::string& name = of.network().nodes[static_cast<std::size_t>(node)].name;
        of.state().at(name + ".weight").detach().select(1, channel).mul_(factor);
      }
    };
    constexpr double kStep = 0.004;  // few activations pass a kink, and the difference is well above rounding
    scale(1 + kStep);
    const double above = loss();
    scale((1 - kStep) / (1 + kStep));
    const double below = loss();
    scale(1 / (1 - kStep));
    const double derivative = (above - below) / (2 * kStep);
    if (std::abs(derivative) < 5e-3) continue;  // lost in float32's rounding
    ++compared;
    EXPECT_NEAR(std::sqrt(importance[g][u]) / std::abs(derivative), 1, 0.05) << g << ' ' << u;
  }
  EXPECT_GE(compared, 3);
}

TEST_F(ChannelPruningTest, SaysWhatCannotBe) {
  NetworkModule of = module();
  const auto pruned = prune_channels(of, data_.train, {.criterion = ImportanceCriterion::l1, .target = {.keep = 0.01}});
  ASSERT_FALSE(pruned);
  EXPECT_THAT(pruned.error().message, HasSubstr("cannot get down to 1 % of the macs"));
  const auto unknown = parse_importance("size");
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().message, HasSubstr("'size'; known: l1, l2, batch_norm, taylor"));
  EXPECT_EQ(parse_importance("taylor").value(), ImportanceCriterion::taylor);
}

}  // namespace
}  // namespace finch::trainer
