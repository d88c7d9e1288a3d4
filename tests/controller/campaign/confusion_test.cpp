#include "controller/campaign/confusion.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace finch::controller {
namespace {

TEST(ConfusionTest, CountsPairs) {
  const std::vector<std::int32_t> labels = {0, 0, 1, 2, 2}, told = {0, 1, 1, 2, 2};
  EXPECT_EQ(confusion_of(labels, told), (Confusion{{{0, 0}, 1}, {{0, 1}, 1}, {{1, 1}, 1}, {{2, 2}, 2}}));
}

TEST(ConfusionTest, MetricsByHand) {
  // Class 0: 90 of 100; class 1: 5 of 10, the others taken for 0; class 2: none of 2, one each taken for 0 and 1.
  const Confusion confusion = {{{0, 0}, 90}, {{0, 1}, 10}, {{1, 1}, 5}, {{1, 0}, 5}, {{2, 0}, 1}, {{2, 1}, 1}};
  EXPECT_DOUBLE_EQ(value_of(Metric::top1, confusion), 95.0 / 112);
  EXPECT_DOUBLE_EQ(value_of(Metric::balanced_accuracy, confusion), (0.9 + 0.5 + 0) / 3);
  EXPECT_DOUBLE_EQ(value_of(Metric::macro_f1, confusion), (180.0 / 196 + 10.0 / 26 + 0) / 3);
  EXPECT_DOUBLE_EQ(value_of(Metric::worst_class_recall, confusion), 0);
}

TEST(ConfusionTest, AClassWithoutImagesCountsOnlyWhereItIsTold) {
  const Confusion confusion = {{{0, 0}, 8}, {{0, 7}, 2}};
  EXPECT_DOUBLE_EQ(value_of(Metric::balanced_accuracy, confusion), 0.8);
  EXPECT_DOUBLE_EQ(value_of(Metric::worst_class_recall, confusion), 0.8);
  EXPECT_DOUBLE_EQ(value_of(Metric::macro_f1, confusion), (16.0 / 18 + 0) / 2);
}

TEST(ConfusionTest, AccuraciesOfAnOldResultKnowTop1Alone) {
  const Accuracies old(0.9);
  EXPECT_EQ(old.top1(), 0.9);
  EXPECT_FALSE(old[Metric::macro_f1]);
  const Accuracies all(Confusion{{{0, 0}, 3}, {{1, 0}, 1}});
  EXPECT_EQ(all.top1(), 0.75);
  EXPECT_EQ(all[Metric::balanced_accuracy], 0.5);
}

TEST(ConfusionTest, MetricsAreFoundByName) {
  EXPECT_EQ(metric_named("accuracy"), Metric::top1);
  for (const Metric metric : kMetrics) EXPECT_EQ(metric_named(name_of(metric)), metric);
  EXPECT_FALSE(metric_named("latency"));
}

}  // namespace
}  // namespace finch::controller
