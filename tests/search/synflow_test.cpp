#include "search/synflow.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "search/search_space.hpp"

namespace finch::search {
namespace {

TEST(Synflow, AgreesWithHandComputedValues) {
  NetworkBuilder builder({2, 4, 4});
  const auto first = builder.add("first", Convolution{.out_channels = 3}, {0});
  const auto pooled = builder.add("pool", GlobalAveragePool{}, {first});
  builder.add("head", Linear{.out_features = 5}, {pooled});
  const Network network = builder.finish().value();
  // Each layer multiplies by 2 sqrt(fan_in / pi); all of the output flows through each of the two.
  const double output = 5 * 2 * std::sqrt(2 / std::numbers::pi) * 2 * std::sqrt(3 / std::numbers::pi);
  EXPECT_NEAR(expected_synflow(network), std::log1p(2 * output), 1e-9);
}

TEST(Synflow, PaddingLetsLessThrough) {
  NetworkBuilder builder({1, 3, 3});
  const auto first = builder.add("first", Convolution{.out_channels = 1, .kernel_size = 3, .padding = 1}, {0});
  builder.add("pool", GlobalAveragePool{}, {first});
  const Network network = builder.finish().value();
  // Of 3 windows of 3 pixels, 7 of 9 lie inside, in both directions.
  const double output = 2 * std::sqrt(9 / std::numbers::pi) * (7.0 / 9) * (7.0 / 9);
  EXPECT_NEAR(expected_synflow(network), std::log1p(output), 1e-9);
}

TEST(Synflow, AShortcutAddsAPath) {
  NetworkBuilder builder({4, 4, 4});
  const auto first = builder.add("first", Convolution{.out_channels = 4}, {0});
  const auto second = builder.add("second", Convolution{.out_channels = 4}, {first});
  const auto sum = builder.add("sum", Add{}, {first, second});
  builder.add("pool", GlobalAveragePool{}, {sum});
  const Network network = builder.finish().value();
  const double gain = 2 * std::sqrt(4 / std::numbers::pi);
  // Everything flows through the first, what is not the shortcut's through the second.
  EXPECT_NEAR(expected_synflow(network), std::log1p(4 * (gain + 2 * gain * gain)), 1e-9);
}

TEST(Synflow, IsFiniteOverTheSpacesAndGreaterForTheLargest) {
  for (const char* name : {"mobilenet", "shufflenet", "nasbench201"}) {
    const auto space = *make_search_space({.name = name, .image = {3, 32, 32}, .classes = 10});
    std::mt19937_64 generator(2);
    for (int i = 0; i < 50; ++i) {
      const auto network = space->decode(space->random(generator));
      if (network) {
        EXPECT_TRUE(std::isfinite(expected_synflow(*network))) << name;
      }
    }
    if (std::string(name) != "nasbench201") {
      EXPECT_GT(expected_synflow(*space->decode(space->largest())),
                expected_synflow(*space->decode(space->smallest())));
    }
  }
}

}  // namespace
}  // namespace finch::search
