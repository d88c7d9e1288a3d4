#include "search/successive_halving.hpp"

#include <gmock/gmock.h>

#include <cmath>
#include <random>

#include "search/pareto_front.hpp"

namespace finch::search {
namespace {

TEST(SuccessiveHalving, OneRungTrainsEveryoneToTheEnd) {
  SuccessiveHalving halving;
  EXPECT_EQ(halving.rungs(), 1u);
  EXPECT_DOUBLE_EQ(halving.share(0), 1);
  EXPECT_DOUBLE_EQ(halving.expected_share(), 1);
  EXPECT_FALSE(halving.report(1, 0, std::vector{3.0, 1.0}));  // nothing left to go on to
  EXPECT_EQ(halving.at_the_end(0, 7), 7);
}

TEST(SuccessiveHalving, TheSharesGrowByTheReduction) {
  const SuccessiveHalving halving(3, 3);
  EXPECT_DOUBLE_EQ(halving.share(0), 1.0 / 9);
  EXPECT_DOUBLE_EQ(halving.share(1), 1.0 / 3);
  EXPECT_DOUBLE_EQ(halving.share(2), 1);
  EXPECT_NEAR(halving.expected_share(), 1.0 / 9 + 2.0 / 9 / 3 + 6.0 / 9 / 9, 1e-12);
}

TEST(SuccessiveHalving, PassesOnTheBestThirdAtMost) {
  SuccessiveHalving halving(2, 3);
  // One objective counts: the second is the same for all.
  EXPECT_TRUE(halving.report(1, 0, std::vector{5.0, 1.0}));   // the first of one
  EXPECT_FALSE(halving.report(2, 0, std::vector{6.0, 1.0}));  // the second of two
  EXPECT_TRUE(halving.report(3, 0, std::vector{4.0, 1.0}));
  EXPECT_FALSE(halving.report(4, 0, std::vector{5.5, 1.0}));  // the third of four; two may go on
  EXPECT_TRUE(halving.report(5, 0, std::vector{4.5, 1.0}));
}

TEST(SuccessiveHalving, TheEndsOfTheFrontGoOn) {
  SuccessiveHalving halving(2, 4);
  std::mt19937_64 generator(5);
  std::uniform_real_distribution<double> uniform;
  for (CandidateId id = 1; id <= 30; ++id) {
    const double cost = 1 + uniform(generator);
    (void)halving.report(id, 0, std::vector{10 / cost + uniform(generator), cost});
  }
  EXPECT_TRUE(halving.report(31, 0, std::vector{30.0, 0.5}));  // the cheapest of all
  EXPECT_TRUE(halving.report(32, 0, std::vector{1.0, 9.0}));   // the most accurate
  EXPECT_FALSE(halving.report(33, 0, std::vector{30.0, 9.0}));
}

TEST(SuccessiveHalving, ExpectsOfTheOthersWhatBecameOfThoseThatWentOn) {
  SuccessiveHalving halving(3, 3);
  EXPECT_EQ(halving.at_the_end(0, 12), 12);
  for (CandidateId id = 1; id <= 3; ++id) {
    const double error = 20.0 - static_cast<double>(id);
    (void)halving.report(id, 0, std::vector{error, 1.0});
    (void)halving.report(id, 1, std::vector{0.8 * error, 1.0});
    (void)halving.report(id, 2, std::vector{(id == 3 ? 0.1 : 0.5) * error, 1.0});  // one is far better than the others
  }
  EXPECT_NEAR(halving.at_the_end(0, 12), 6, 1e-9);
  EXPECT_NEAR(halving.at_the_end(1, 12), 7.5, 1e-9);
}

// Learning curves that cross: for a third of the training, more of the front is found than by training all to the end.
TEST(SuccessiveHalving, FindsMoreOfTheFrontForTheSameTraining) {
  const auto front_after = [](std::size_t rungs, double budget) {
    SuccessiveHalving halving(rungs, 3);
    std::mt19937_64 generator(7);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> uniform;
    std::vector<std::vector<double>> found;
    double spent = 0;
    for (CandidateId id = 1; spent < budget; ++id) {
      const double cost = std::exp(2 * uniform(generator));
      const double final_error = 8 + 6 / cost + 3 * std::abs(normal(generator));
      const double speed = 1 + 0.5 * uniform(generator);
      for (std::size_t rung = 0;; ++rung) {
        spent += halving.share(rung) - (rung > 0 ? halving.share(rung - 1) : 0);
        const double error = final_error + 6 * std::pow(0.05, speed * halving.share(rung));
        if (halving.report(id, rung, std::vector{error, cost})) continue;
        if (rung + 1 == rungs) found.push_back({error, cost});
        break;
      }
    }
    return hypervolume(found, std::vector{25.0, 8.0});
  };
  EXPECT_GT(front_after(3, 30), front_after(1, 30));
  EXPECT_GT(front_after(3, 100), front_after(1, 100));
}

}  // namespace
}  // namespace finch::search
