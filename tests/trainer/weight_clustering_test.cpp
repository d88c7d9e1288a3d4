#include "trainer/weight_clustering.hpp"

#include <gmock/gmock.h>

#include "search/cost_model.hpp"
#include "search/search_space.hpp"
#include "tests/trainer/sample_data.hpp"
#include "trainer/batch_source.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/training.hpp"
#include "trainer/weight_constraint.hpp"
#include "trainer/weight_pruning.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

std::int64_t distinct_values(const torch::Tensor& weight) {
  return std::get<0>(torch::_unique2(weight.detach())).numel();
}

class WeightClusteringTest : public testing::Test {
 protected:
  WeightClusteringTest() : module_(network(), data_.mean, data_.stddev) { train(module_, 5, nullptr); }

  static search::Network network() {
    torch::manual_seed(1);
    const auto space = search::make_search_space({"mobilenet", {1, kSampleSize, kSampleSize}, kSampleClasses}).value();
    return space->decode(space->smallest()).value();
  }
  void train(NetworkModule& module, double epochs, const WeightConstraint* constraint) const {
    Training training(module, data_.train, {}, {.epochs = epochs, .batch_size = 16, .loss = {}, .augmentation = {}});
    if (constraint != nullptr) training.keep(*constraint);
    ASSERT_TRUE(run(training, [](double) {}));
  }
  double accuracy(NetworkModule& module) const {
    module.eval();
    return top1([&](const torch::Tensor& images) { return module.forward(images); }, data_.validation);
  }

  const Dataset data_ = sample_dataset();
  NetworkModule module_;
};

TEST_F(WeightClusteringTest, FoldingBatchNormKeepsTheOutputs) {
  const auto folded = fold_batch_norm(module_);
  folded->eval();
  module_.eval();
  const torch::NoGradGuard no_grad;
  const torch::Tensor images = plain_images(data_.test, 0, 16);
  EXPECT_LE((folded->forward(images) - module_.forward(images)).abs().max().item<double>(), 1e-4);
  EXPECT_EQ(search::cost_of(folded->network()).parameters, search::cost_of(module_.network()).parameters);
  EXPECT_EQ(search::cost_of(folded->network()).macs, search::cost_of(module_.network()).macs);
}

TEST_F(WeightClusteringTest, ALayerHasFewValuesInTheExportedWeightsToo) {
  for (const int bits : {1, 3, 8}) {
    const auto clustered = cluster_weights(module_, {.bits = bits});
    ASSERT_TRUE(clustered);
    for (const auto& [node, layer] : clustered->module->fold().layers)
      EXPECT_LE(distinct_values(torch::tensor(layer.weight)), 1 << bits) << node;
  }
}

TEST_F(WeightClusteringTest, EightBitsHardlyChangeTheOutputs) {
  const auto clustered = cluster_weights(module_, {.bits = 8});
  ASSERT_TRUE(clustered);
  EXPECT_NEAR(accuracy(*clustered->module), accuracy(module_), 0.03);
}

TEST_F(WeightClusteringTest, SharedValuesStaySharedWhileTheyLearn) {
  const auto clustered = cluster_weights(module_, {.bits = 3});
  ASSERT_TRUE(clustered);
  NamedTensors before;
  for (const auto& [name, weight] : clustered->module->filters()) before[name] = weight.detach().clone();
  const auto constraint = keep_shared_values(*clustered->module);
  train(*clustered->module, 3, constraint.get());
  for (const auto& [name, weight] : clustered->module->filters()) {
    EXPECT_LE(distinct_values(weight), distinct_values(before.at(name))) << name;
    EXPECT_FALSE(torch::equal(weight, before.at(name))) << name;
    // What was equal is equal.
    const torch::Tensor inverse = std::get<1>(torch::_unique2(before.at(name), true, true));
    for (std::int64_t value = 0; value < distinct_values(before.at(name)); ++value)
      EXPECT_EQ(distinct_values(weight.masked_select(inverse == value)), 1) << name;
  }
  EXPECT_GE(accuracy(*clustered->module), 0.9);
}

// A step of plain gradient descent on the shared values themselves: the derivative of one is the sum over its weights.
TEST_F(WeightClusteringTest, ASharedValuesGradientIsTheSumOverItsWeights) {
  const auto clustered = cluster_weights(module_, {.bits = 2});
  ASSERT_TRUE(clustered);
  const auto constraint = keep_shared_values(*clustered->module);
  clustered->module->forward(plain_images(data_.train, 0, 8)).square().mean().backward();
  NamedTensors plain;
  for (const auto& [name, weight] : clustered->module->filters()) plain[name] = weight.grad().clone();
  constraint->constrain_gradients();
  for (const auto& [name, weight] : clustered->module->filters()) {
    const torch::Tensor inverse = std::get<1>(torch::_unique2(weight.detach(), true, true));
    for (std::int64_t value = 0; value < distinct_values(weight); ++value) {
      const double sum = plain.at(name).masked_select(inverse == value).sum(torch::kDouble).item<double>();
      const torch::Tensor shared = weight.grad().masked_select(inverse == value);
      EXPECT_NEAR(shared.max().item<double>(), sum, 1e-5 * std::max(1.0, std::abs(sum)));
      EXPECT_EQ(shared.max().item<double>(), shared.min().item<double>());
    }
  }
}

TEST_F(WeightClusteringTest, ZerosOfAPrunedNetworkStay) {
  const auto pruned = prune_weights(module_, UnstructuredSparsity{0.5});
  ASSERT_TRUE(pruned);
  const auto clustered = cluster_weights(*pruned->module, {.bits = 2});
  ASSERT_TRUE(clustered);
  EXPECT_EQ(clustered->after.zeros, pruned->after.zeros);
  const auto constraint = keep_shared_values(*clustered->module);
  train(*clustered->module, 1, constraint.get());
  EXPECT_EQ(model_size(*clustered->module).value().zeros, pruned->after.zeros);
  for (const auto& [name, weight] : clustered->module->filters()) EXPECT_LE(distinct_values(weight), 4) << name;
}

TEST_F(WeightClusteringTest, SizesAreThoseOfTheFormsDescribed) {
  // One layer of 32 weights: 16 times 0.5, 8 times 1, 4 times 2, 4 times 3; and 4 biases.
  search::NetworkBuilder builder({8, 1, 1});
  builder.add("classifier", search::Linear{4}, {0});
  NetworkModule module(builder.finish().value(), std::vector<float>(8, 0), std::vector<float>(8, 1),
                       [](const search::Node&, const std::string& tensor, torch::IntArrayRef shape) {
                         if (tensor == "bias") return torch::zeros(shape);
                         std::vector<float> weights(16, 0.5F);
                         weights.resize(24, 1);
                         weights.resize(28, 2);
                         weights.resize(32, 3);
                         return torch::tensor(weights).view(shape);
                       });
  const SharedSize size = shared_size(module);
  EXPECT_EQ(size.dense_bytes, 4 * 32 + 16);
  EXPECT_EQ(size.indexed_bytes, 4 * 4 + 32 * 2 / 8 + 16);
  // Codes of 1, 2, 3 and 3 bits take 16 + 16 + 12 + 12 = 56 bits, a byte less, and their lengths take 4.
  EXPECT_EQ(size.huffman_bytes, size.indexed_bytes);
}

TEST_F(WeightClusteringTest, FewerBitsAreSmaller) {
  std::int64_t last = shared_size(module_).dense_bytes;
  EXPECT_EQ(shared_size(module_).indexed_bytes, last);  // trained weights all differ
  for (const int bits : {8, 6, 4, 2}) {
    const auto clustered = cluster_weights(module_, {.bits = bits});
    ASSERT_TRUE(clustered);
    const SharedSize size = shared_size(*clustered->module);
    EXPECT_LT(size.indexed_bytes, last);
    EXPECT_LE(size.huffman_bytes, size.indexed_bytes);
    EXPECT_LT(clustered->after.compressed_file_bytes, clustered->before.compressed_file_bytes);
    last = size.indexed_bytes;
  }
  const auto refused = cluster_weights(module_, {.bits = 9});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("1 to 8 bits a weight, not 9"));
}

}  // namespace
}  // namespace finch::trainer
