#include "trainer/weight_pruning.hpp"

#include <gmock/gmock.h>

#include "search/search_space.hpp"
#include "tests/trainer/sample_data.hpp"
#include "trainer/training.hpp"
#include "trainer/weight_constraint.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

class WeightPruningTest : public testing::Test {
 protected:
  WeightPruningTest() : module_(network(), data_.mean, data_.stddev) {}

  static search::Network network() {
    torch::manual_seed(1);
    const auto space = search::make_search_space({"mobilenet", {1, kSampleSize, kSampleSize}, kSampleClasses}).value();
    return space->decode(space->smallest()).value();
  }
  std::string message(const SparsityPattern& pattern) const {
    const auto pruned = prune_weights(module_, pattern);
    return pruned ? std::string() : pruned.error().message;
  }

  const Dataset data_ = sample_dataset();
  NetworkModule module_;
};

TEST_F(WeightPruningTest, UnstructuredSparsityIsExactAndEmptiesNoLayer) {
  for (const double sparsity : {0.3, 0.9, 0.99}) {
    const auto pruned = prune_weights(module_, UnstructuredSparsity{sparsity});
    ASSERT_TRUE(pruned);
    EXPECT_EQ(pruned->before.zeros, 0);
    EXPECT_EQ(pruned->after.zeros, static_cast<std::int64_t>(sparsity * static_cast<double>(pruned->after.weights)));
    EXPECT_EQ(pruned->after.macs, pruned->before.macs);
    EXPECT_NEAR(static_cast<double>(pruned->after.file_bytes), static_cast<double>(pruned->before.file_bytes), 8);
    EXPECT_LT(pruned->after.compressed_file_bytes, pruned->before.compressed_file_bytes);
    for (const auto& [name, weight] : pruned->module->filters())
      EXPECT_GT(weight.count_nonzero().item<std::int64_t>(), 0) << name;
  }
}

TEST_F(WeightPruningTest, WhatStaysOfALayerIsGreaterThanWhatGoes) {
  const auto pruned = prune_weights(module_, UnstructuredSparsity{0.6});
  ASSERT_TRUE(pruned);
  for (const auto& [name, before] : module_.filters()) {
    const torch::Tensor kept = pruned->module->filters().at(name).ne(0), size = before.abs();
    EXPECT_TRUE(torch::equal(pruned->module->filters().at(name), before * kept)) << name;
    if (kept.all().item<bool>()) continue;
    EXPECT_GE(size.masked_select(kept).min().item<float>(), size.masked_select(kept.logical_not()).max().item<float>());
  }
}

TEST_F(WeightPruningTest, BlocksKeepTheirGreatestWeights) {
  const auto pruned = prune_weights(module_, BlockSparsity{2, 4});
  ASSERT_TRUE(pruned);
  int blocked = 0;
  for (const auto& [name, before] : module_.filters()) {
    const torch::Tensor after = pruned->module->filters().at(name);
    if (before.size(1) % 4 != 0) {
      EXPECT_TRUE(torch::equal(after, before)) << name;
      continue;
    }
    ++blocked;
    for (std::int64_t first = 0; first < before.size(1); first += 4) {
      const torch::Tensor block = after.slice(1, first, first + 4), of = before.slice(1, first, first + 4).abs();
      EXPECT_TRUE(block.ne(0).sum(1).eq(2).all().item<bool>()) << name;
      const torch::Tensor second = std::get<0>(of.topk(2, 1)).select(1, 1).unsqueeze(1);
      EXPECT_TRUE(torch::equal(block.ne(0), of.ge(second))) << name;
    }
  }
  EXPECT_GE(blocked, 4);
}

TEST_F(WeightPruningTest, ZerosStayZeroWhileTheOthersLearn) {
  const auto pruned = prune_weights(module_, UnstructuredSparsity{0.7});
  ASSERT_TRUE(pruned);
  NamedTensors before;
  for (const auto& [name, weight] : pruned->module->filters()) before[name] = weight.detach().clone();
  Training training(*pruned->module, data_.train, {}, {.epochs = 2, .batch_size = 16, .loss = {}, .augmentation = {}});
  const auto constraint = keep_zeros(*pruned->module);
  training.keep(*constraint);
  ASSERT_TRUE(run(training, [](double) {}));
  for (const auto& [name, weight] : pruned->module->filters()) {
    EXPECT_TRUE(torch::equal(weight.ne(0), before.at(name).ne(0))) << name;
    EXPECT_FALSE(torch::equal(weight, before.at(name))) << name;
  }
}

TEST_F(WeightPruningTest, SaysWhatCannotBe) {
  EXPECT_THAT(message(UnstructuredSparsity{0}), HasSubstr("above 0 and below 1, not 0"));
  EXPECT_THAT(message(UnstructuredSparsity{1}), HasSubstr("above 0 and below 1, not 1"));
  EXPECT_THAT(message(BlockSparsity{4, 4}), HasSubstr("4:4 is no sparsity"));
  EXPECT_THAT(message(BlockSparsity{2, 4096}), HasSubstr("multiple of 4096"));
}

}  // namespace
}  // namespace finch::trainer
