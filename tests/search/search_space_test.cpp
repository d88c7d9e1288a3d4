#include "search/search_space.hpp"

#include <gmock/gmock.h>

#include <set>

#include "tests/search/toy_space.hpp"

namespace finch::search {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SearchSpace, GenotypeTextRoundTrips) {
  std::mt19937_64 generator(7);
  for (int i = 0; i < 100; ++i) {
    Genotype genotype(1 + generator() % 60);
    for (int& choice : genotype) choice = static_cast<int>(generator() % 1000);
    const auto parsed = parse_genotype(to_string(genotype));
    ASSERT_TRUE(parsed) << parsed.error().message;
    EXPECT_EQ(*parsed, genotype);
  }
  EXPECT_EQ(to_string({0, 2, 1}), "0,2,1");
}

TEST(SearchSpace, RefusesTextThatIsNoGenotype) {
  for (const char* text :
       {"", ",", "1,", ",1", "1,,2", "1, 2", " 1", "1 ", "a", "1,x", "-1", "1.5", "99999999999", "+1"}) {
    const auto parsed = parse_genotype(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_THAT(parsed.error().message, HasSubstr("'" + std::string(text) + "' is no genotype"));
  }
}

TEST(SearchSpace, ValidChecksLengthAndRange) {
  const ToySpace space(3, 4);
  EXPECT_TRUE(space.valid({0, 3, 1}));
  EXPECT_FALSE(space.valid({}));
  EXPECT_FALSE(space.valid({0, 3}));
  EXPECT_FALSE(space.valid({0, 3, 1, 0}));
  EXPECT_FALSE(space.valid({0, 4, 1}));
  EXPECT_FALSE(space.valid({0, -1, 1}));
}

TEST(SearchSpace, ExtremesAndRandomAreCanonical) {
  const ToySpace space(3, 4);
  EXPECT_THAT(space.smallest(), ElementsAre(0, 0, 0));
  EXPECT_THAT(space.largest(), ElementsAre(3, 3, 3));
  std::mt19937_64 generator(1);
  std::set<Genotype> seen;
  for (int i = 0; i < 2000; ++i) {
    const Genotype genotype = space.random(generator);
    EXPECT_TRUE(space.valid(genotype));
    EXPECT_EQ(space.canonical(genotype), genotype);
    seen.insert(genotype);
  }
  EXPECT_EQ(seen.size(), 3U * 4 * 4 + 4);  // every genotype but those whose last decision has no effect
}

// Golden: a proposal recorded on one machine must come again on another, with another standard library.
TEST(SearchSpace, RandomIsTheSameEverywhere) {
  const ToySpace space(6, 5);
  std::mt19937_64 generator(42);
  EXPECT_EQ(to_string(space.random(generator)), "1,4,0,2,1,3");
}

TEST(SearchSpace, FactoryNamesTheKnownSpaces) {
  const auto unknown = make_search_space({.name = "resnet", .image = {3, 32, 32}, .classes = 10});
  ASSERT_FALSE(unknown);
  EXPECT_THAT(unknown.error().message,
              HasSubstr("no search space 'resnet'; known: mobilenet, shufflenet, nasbench201"));
  for (const std::string& name : search_space_names()) {
    const auto space = make_search_space({.name = name, .image = {3, 32, 32}, .classes = 10});
    ASSERT_TRUE(space) << space.error().message;
    EXPECT_EQ((*space)->name(), name);
  }
}

}  // namespace
}  // namespace finch::search
