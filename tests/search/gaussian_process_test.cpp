#include "search/gaussian_process.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "search/objective_model.hpp"

namespace finch::search {
namespace {

struct Sample {
  std::unique_ptr<SearchSpace> space = *make_search_space({.name = "nasbench201", .image = {3, 32, 32}, .classes = 10});
  std::vector<Genotype> genotypes;
  std::vector<double> values;

  explicit Sample(std::size_t count, std::uint64_t seed = 1) {
    std::mt19937_64 generator(seed);
    while (genotypes.size() < count) {
      const Genotype genotype = space->random(generator);
      if (std::ranges::find(genotypes, genotype) != genotypes.end()) continue;
      genotypes.push_back(genotype);
      const auto features = space->features(genotype);
      values.push_back(10 + 3 * features[2] + features[1] + std::sin(features[5]));
    }
  }
};

Eigen::VectorXd targets(const Sample& sample) {
  Eigen::VectorXd result = Eigen::Map<const Eigen::VectorXd>(sample.values.data(), std::ssize(sample.values));
  result.array() -= result.mean();
  return result / std::sqrt(result.squaredNorm() / static_cast<double>(result.size()));
}

TEST(GaussianProcess, GrowingPointByPointIsConditioningAtOnce) {
  const Sample sample(40), places(30, 2);
  const GenotypeEncoding encoding(*sample.space);
  const auto all = encoding.encode(sample.genotypes), first = encoding.encode(std::span(sample.genotypes).first(10));
  const auto candidates = encoding.encode(places.genotypes);
  GaussianProcess once, grown;
  once.condition(all, 6);
  once.set_candidates(candidates);
  grown.condition(first, 6);
  grown.set_candidates(candidates);
  for (std::size_t i = 10; i < 40; ++i) grown.add_point(encoding.encode(std::span(sample.genotypes).subspan(i, 1)));
  once.set_targets(targets(sample));
  grown.set_targets(targets(sample));
  EXPECT_LT((once.mean() - grown.mean()).cwiseAbs().maxCoeff(), 1e-6);
  EXPECT_LT((once.deviation() - grown.deviation()).cwiseAbs().maxCoeff(), 1e-6);
  EXPECT_NEAR(once.predict(encoding.encode(std::span(places.genotypes).first(1))), once.mean()[0], 1e-9);
}

TEST(GaussianProcess, LeaveOneOutIsWhatAModelWithoutThePointPredicts) {
  const Sample sample(20);
  const GenotypeEncoding encoding(*sample.space);
  const Eigen::VectorXd y = targets(sample);
  GaussianProcess whole;
  whole.condition(encoding.encode(sample.genotypes), 6);
  whole.set_targets(y);
  for (const std::size_t left_out : {std::size_t{0}, std::size_t{7}, std::size_t{19}}) {
    auto rest = sample.genotypes;
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(left_out));
    Eigen::VectorXd rest_y(19);
    for (Eigen::Index i = 0, k = 0; i < 20; ++i) {
      if (i != static_cast<Eigen::Index>(left_out)) rest_y[k++] = y[i];
    }
    GaussianProcess without;
    without.condition(encoding.encode(rest), 6);
    without.set_targets(rest_y);
    const auto place = encoding.encode(std::span(sample.genotypes).subspan(left_out, 1));
    EXPECT_NEAR(whole.leave_one_out()[static_cast<Eigen::Index>(left_out)], without.predict(place), 1e-6);
  }
}

TEST(ObjectiveModel, LearnsAndKnowsHowWell) {
  const Sample sample(60), places(200, 2);
  const GenotypeEncoding encoding(*sample.space);
  ObjectiveModel model;
  model.fit(encoding.encode(sample.genotypes), sample.values, 6);
  model.set_candidates(encoding.encode(places.genotypes));
  std::vector<double> predicted;
  for (Eigen::Index i = 0; i < 200; ++i) predicted.push_back(model.value(i, 0));
  EXPECT_GT(rank_correlation(predicted, places.values), 0.95);
  EXPECT_GT(model.rank_correlation(), 0.9);

  auto noise = sample.values;
  std::mt19937_64 generator(1);
  for (double& value : noise) value = static_cast<double>(generator() % 1000);
  ObjectiveModel lost;
  lost.fit(encoding.encode(sample.genotypes), noise, 6);
  EXPECT_LT(lost.rank_correlation(), 0.3);
  EXPECT_GT(model.value(0, 1), model.value(0, -1));
}

TEST(ObjectiveModel, BelievesInWhatIsInFlightUntilItIsTold) {
  const Sample sample(30);
  const GenotypeEncoding encoding(*sample.space);
  const auto point = encoding.encode(std::span(sample.genotypes).subspan(29, 1));
  ObjectiveModel model;
  model.fit(encoding.encode(std::span(sample.genotypes).first(29)), std::span(sample.values).first(29), 6);
  model.set_candidates(point);
  const double before = model.value(0, 0), wide = model.value(0, 1) - before;
  const auto row = model.add(point);
  model.refresh();
  EXPECT_NEAR(model.value(0, 0), before, 1e-2 * before);
  EXPECT_LT(model.value(0, 1) - model.value(0, 0), 0.5 * wide);
  model.set(row, 2 * before);
  model.refresh();
  EXPECT_GT(model.value(0, 0), 1.2 * before);
}

TEST(RankCorrelation, IsSpearmans) {
  EXPECT_DOUBLE_EQ(rank_correlation(std::vector{1.0, 2.0, 3.0}, std::vector{10.0, 20.0, 90.0}), 1);
  EXPECT_DOUBLE_EQ(rank_correlation(std::vector{1.0, 2.0, 3.0}, std::vector{3.0, 2.0, 1.0}), -1);
  EXPECT_DOUBLE_EQ(rank_correlation(std::vector{1.0, 1.0, 1.0}, std::vector{3.0, 2.0, 1.0}), 0);
  EXPECT_NEAR(rank_correlation(std::vector{1.0, 2.0, 2.0, 4.0}, std::vector{1.0, 3.0, 2.0, 4.0}), 0.9486833, 1e-6);
}

}  // namespace
}  // namespace finch::search
