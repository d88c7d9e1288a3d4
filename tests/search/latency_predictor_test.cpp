#include "search/latency_predictor.hpp"

#include <gmock/gmock.h>

#include <cmath>

#include "search/objective_model.hpp"

namespace finch::search {
namespace {

const SearchSpace& cells() {
  static const auto space = *make_search_space({.name = "nasbench201", .image = {3, 32, 32}, .classes = 10});
  return *space;
}

// Milliseconds that add up over what a device runs, times `speed`; with a part that does not add up.
double cost(const Genotype& genotype, double speed, double interaction = 0) {
  const std::vector<double> parts = cells().workload(genotype);
  const std::size_t sums = parts.size() - 4;
  double total = 1 + 0.3 * parts[sums] + 2 * parts[sums + 1] + 9 * parts[sums + 2] + 1.5 * parts[sums + 3];
  if (genotype[0] == 3 && genotype[5] == 3) total *= 1 + interaction;
  return speed * total;
}

class LatencyPredictorTest : public testing::Test {
 protected:
  Genotype draw() {
    Genotype genotype;
    for (const Decision& decision : cells().decisions())
      genotype.push_back(static_cast<int>(generator_() % decision.choices.size()));
    return genotype;
  }
  void learn(LatencyPredictor& predictor, int samples, double speed, double interaction = 0) {
    for (int i = 0; i < samples; ++i) {
      const Genotype genotype = draw();
      predictor.add(genotype, cost(genotype, speed, interaction));
    }
    predictor.fit();
  }
  // Rank correlation and greatest relative error on networks not seen.
  std::pair<double, double> judge(const LatencyPredictor& predictor, double speed, double interaction = 0) {
    std::vector<Genotype> genotypes;
    std::vector<double> measured;
    for (int i = 0; i < 200; ++i) {
      genotypes.push_back(draw());
      measured.push_back(cost(genotypes.back(), speed, interaction));
    }
    const auto predicted = predictor.predict(genotypes);
    double worst = 0;
    for (std::size_t i = 0; i < measured.size(); ++i) worst = std::max(worst, std::abs(predicted[i] / measured[i] - 1));
    return {rank_correlation(predicted, measured), worst};
  }
  std::mt19937_64 generator_{4};
};

TEST_F(LatencyPredictorTest, LearnsWhatAddsUpFromFewSamples) {
  LatencyPredictor predictor(cells());
  learn(predictor, 40, 1);
  const auto [correlation, worst] = judge(predictor, 1);
  EXPECT_GT(correlation, 0.97);
  LatencyPredictor longer(cells());
  learn(longer, 120, 1);
  EXPECT_GT(judge(longer, 1).first, 0.995);
  EXPECT_LT(judge(longer, 1).second, worst);
}

TEST_F(LatencyPredictorTest, LearnsWhatDoesNotAddUpFromMore) {
  LatencyPredictor predictor(cells());
  learn(predictor, 300, 1, 0.5);
  EXPECT_GT(judge(predictor, 1, 0.5).first, 0.99);
}

TEST_F(LatencyPredictorTest, StartsFromTheMostSimilarKnownDevice) {
  const auto similar = std::make_shared<LatencyPredictor>(cells());
  learn(*similar, 200, 5);
  const auto other = std::make_shared<LatencyPredictor>(cells());
  for (int i = 0; i < 200; ++i) other->add(draw(), 1 + static_cast<double>(generator_() % 100));
  other->fit();
  LatencyPredictor alone(cells()), helped(cells(), {other, similar});
  for (int i = 0; i < 8; ++i) {
    const Genotype genotype = draw();
    alone.add(genotype, cost(genotype, 0.2));
    helped.add(genotype, cost(genotype, 0.2));
  }
  alone.fit();
  helped.fit();
  EXPECT_EQ(helped.similar(), 1u);
  EXPECT_FALSE(alone.similar());
  EXPECT_GT(judge(helped, 0.2).first, 0.99);
  EXPECT_GT(judge(helped, 0.2).first, judge(alone, 0.2).first);
}

TEST_F(LatencyPredictorTest, JudgesItselfByWhatItPredictedBeforehand) {
  LatencyPredictor predictor(cells());
  EXPECT_EQ(predictor.quality().samples, 0u);
  EXPECT_FALSE(predictor.quality().good());
  learn(predictor, 150, 1);
  EXPECT_EQ(predictor.quality().samples, 0u);  // nothing was predicted before it was known
  learn(predictor, 30, 1);
  EXPECT_EQ(predictor.quality().samples, 20u);  // the latest
  EXPECT_GT(predictor.quality().rank_correlation, 0.95);
  EXPECT_TRUE(predictor.quality().good());
  for (int i = 0; i < 50; ++i) predictor.add(draw(), 1 + static_cast<double>(generator_() % 50));  // the device broke
  EXPECT_FALSE(predictor.quality().good());
}

TEST_F(LatencyPredictorTest, EqualOrOutlyingSamplesDoNotBreakIt) {
  LatencyPredictor equal(cells());
  for (int i = 0; i < 5; ++i) equal.add(draw(), 3);
  equal.fit();
  EXPECT_NEAR(equal.predict(draw()), 3, 0.3);
  LatencyPredictor outlying(cells());
  learn(outlying, 30, 1);
  outlying.add({0, 0, 0, 0, 0, 0}, 1e-6);
  outlying.add({3, 3, 3, 3, 3, 3}, 1e6);
  outlying.fit();
  for (int i = 0; i < 50; ++i) {
    const double value = outlying.predict(draw());
    EXPECT_TRUE(std::isfinite(value) && value > 0) << value;
  }
}

}  // namespace
}  // namespace finch::search
