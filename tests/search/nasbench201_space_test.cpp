#include "search/nasbench201_space.hpp"

#include <gmock/gmock.h>

#include <set>

#include "search/cost_model.hpp"

namespace finch::search {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<SearchSpace> space() {
  return *make_nasbench201_space({.name = "nasbench201", .image = {3, 32, 32}, .classes = 10});
}

Genotype canonical(const char* digits) {
  Genotype genotype;
  for (const char* at = digits; *at != 0; ++at) genotype.push_back(*at - '0');
  return space()->canonical(genotype);
}

TEST(NasBench201Space, HasOneCanonicalGenotypeForEachFunction) {
  const auto tested = space();
  std::set<Genotype> distinct;
  for (int i = 0; i < 15'625; ++i) {
    Genotype genotype;
    for (int k = 0, rest = i; k < 6; ++k, rest /= 5) genotype.push_back(rest % 5);
    const Genotype result = tested->canonical(genotype);
    ASSERT_EQ(tested->canonical(result), result);
    ASSERT_EQ(tested->features(result), tested->features(genotype));
    distinct.insert(result);
  }
  EXPECT_EQ(distinct.size(), 5'425U);
}

TEST(NasBench201Space, DeadEdgesDoNotCount) {
  EXPECT_EQ(canonical("000300"), canonical("400300"));  // node 1 leads nowhere
  EXPECT_EQ(canonical("000300"), canonical("000342"));  // nodes 1 and 2 are fed by nothing
  EXPECT_EQ(canonical("432000"), canonical("000000"));  // no path at all
  EXPECT_NE(canonical("000300"), canonical("000200"));
}

TEST(NasBench201Space, NodesThatOnlyPassOnAreMerged) {
  EXPECT_EQ(canonical("100030"), canonical("000300"));  // skip, then convolution
  EXPECT_EQ(canonical("300010"), canonical("000300"));  // convolution, then skip
  EXPECT_EQ(canonical("031001"), canonical("030001"));  // dead edge beside it
  EXPECT_EQ(canonical("111001"), canonical("010101"));  // the input twice
  EXPECT_NE(canonical("010101"), canonical("000100"));
  EXPECT_NE(canonical("330011"), canonical("300010"));  // two convolutions with weights of their own
}

TEST(NasBench201Space, InnerNodesAreInterchangeable) {
  EXPECT_EQ(canonical("230042"), canonical("320024"));
  EXPECT_NE(canonical("230042"), canonical("230024"));
  EXPECT_NE(canonical("234042"), canonical("324024"));  // an edge joins them: it has a direction
}

TEST(NasBench201Space, ACellWithoutAPathComputesNothing) {
  for (const Genotype& cell : {Genotype{0, 0, 0, 0, 0, 0}, Genotype{3, 3, 3, 0, 0, 0}, Genotype{0, 0, 3, 0, 3, 3}})
    EXPECT_THAT(space()->decode(cell).error().message, HasSubstr("no path joins its input and output"));
}

// 3x3 on every edge: three cells of six convolutions, two reductions.
TEST(NasBench201Space, AgreesWithHandComputedCost) {
  const auto network = space()->decode({3, 3, 3, 3, 3, 3});
  ASSERT_TRUE(network) << network.error().message;
  const auto square = [](std::int64_t from, std::int64_t to) { return 9 * from * to; };
  const auto reduction = [&](std::int64_t from, std::int64_t to) {
    return square(from, to) + square(to, to) + from * to;
  };
  const Cost cost = cost_of(*network);
  EXPECT_EQ(cost.macs, 1024 * (square(3, 16) + 6 * square(16, 16)) + 256 * (reduction(16, 32) + 6 * square(32, 32)) +
                           64 * (reduction(32, 64) + 6 * square(64, 64)) + 640);
}

TEST(NasBench201Space, RefusesWhatItCannotServe) {
  EXPECT_THAT(make_nasbench201_space({.image = {3, 32, 30}, .classes = 10}).error().message, HasSubstr("32 x 30"));
  EXPECT_THAT(make_nasbench201_space({.image = {3, 32, 32}, .classes = 1}).error().message, HasSubstr("2 classes"));
  EXPECT_THAT(space()->decode({0, 1}).error().message, HasSubstr("0,1 does not belong to the space nasbench201"));
}

}  // namespace
}  // namespace finch::search
