// What holds in every space.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "search/cost_model.hpp"
#include "search/search_space.hpp"
#include "tests/search/network_fingerprint.hpp"
#include "tests/search/sample_custom_space.hpp"

namespace finch::search {
namespace {

struct Case {
  const char* name;
  SpaceConfig config;
};

void PrintTo(const Case& tested, std::ostream* out) {
  *out << tested.name;
}

class SpaceProperties : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    auto space = make_search_space(GetParam().config);
    ASSERT_TRUE(space) << space.error().message;
    space_ = std::move(*space);
  }

  // Uniform over the choices, not canonical.
  Genotype any() {
    Genotype genotype;
    for (const Decision& decision : space_->decisions())
      genotype.push_back(static_cast<int>(generator_() % decision.choices.size()));
    return genotype;
  }

  // Some cells of nasbench201 compute nothing; of every other space all genotypes are networks.
  std::optional<Network> network_of(const Genotype& genotype) {
    auto network = space_->decode(genotype);
    if (network) return std::move(*network);
    EXPECT_EQ(space_->name(), "nasbench201") << network.error().message;
    EXPECT_NE(network.error().message.find("no path"), std::string::npos) << network.error().message;
    return std::nullopt;
  }

  std::mt19937_64 generator_{21};
  std::unique_ptr<SearchSpace> space_;
};

INSTANTIATE_TEST_SUITE_P(Spaces, SpaceProperties,
                         testing::Values(Case{"mobilenet28", {"mobilenet", {1, 28, 28}, 10}},
                                         Case{"shufflenet28", {"shufflenet", {1, 28, 28}, 10}},
                                         Case{"shufflenet32", {"shufflenet", {3, 32, 32}, 10}},
                                         Case{"shufflenet224", {"shufflenet", {3, 224, 224}, 100}},
                                         Case{"nasbench28", {"nasbench201", {1, 28, 28}, 10}},
                                         Case{"nasbench32", {"nasbench201", {3, 32, 32}, 10}},
                                         Case{"nasbench30", {"nasbench201", {3, 30, 30}, 10}},
                                         Case{"custom28", {"mine", {1, 28, 28}, 10, sample_custom_space()}},
                                         Case{"custom32", {"mine", {3, 32, 32}, 10, sample_custom_space()}}),
                         [](const auto& tested) { return std::string(tested.param.name); });

TEST_P(SpaceProperties, RandomGenotypesAreNetworksThatCostSomething) {
  int networks = 0;
  for (int i = 0; i < 300; ++i) {
    const Genotype genotype = space_->random(generator_);
    ASSERT_TRUE(space_->valid(genotype));
    const auto network = network_of(genotype);
    if (!network) continue;
    ++networks;
    EXPECT_EQ(network->input_shape(), GetParam().config.image);
    EXPECT_EQ(network->output_shape(), (TensorShape{GetParam().config.classes, 1, 1}));
    const Cost cost = cost_of(*network);
    EXPECT_GT(cost.parameters, 0);
    EXPECT_GT(cost.macs, 0);
    EXPECT_GE(cost.peak_activation_bytes, 4 * network->input_shape().elements());
  }
  EXPECT_GT(networks, 250);
}

TEST_P(SpaceProperties, CanonicalIsIdempotentAndKeepsTheNetwork) {
  int changed = 0;
  for (int i = 0; i < 200; ++i) {
    const Genotype genotype = any(), canonical = space_->canonical(genotype);
    ASSERT_TRUE(space_->valid(canonical));
    EXPECT_EQ(space_->canonical(canonical), canonical);
    const auto network = network_of(genotype), same = network_of(canonical);
    ASSERT_EQ(network.has_value(), same.has_value());
    if (network) {
      EXPECT_EQ(fingerprint(*network), fingerprint(*same));
    }
    changed += canonical != genotype;
  }
  EXPECT_GT(changed, 20);
}

TEST_P(SpaceProperties, ChangingADecisionStaysInTheSpace) {
  for (int i = 0; i < 200; ++i) {
    Genotype genotype = space_->random(generator_);
    const std::size_t at = generator_() % genotype.size();
    genotype[at] = static_cast<int>(generator_() % space_->decisions()[at].choices.size());
    const Genotype child = space_->canonical(genotype);
    ASSERT_TRUE(space_->valid(child));
    network_of(child);
  }
}

// A child takes its parent's weights by name and shape: a name must mean the same layer everywhere.
TEST_P(SpaceProperties, NodeNamesKeepTheirKindAcrossGenotypes) {
  std::map<std::string, std::string> kinds;
  for (int i = 0; i < 300; ++i) {
    const auto network = network_of(space_->random(generator_));
    if (!network) continue;
    for (const Node& node : network->nodes) {
      std::string kind = operation_name(node.operation);
      if (const auto* convolution = std::get_if<Convolution>(&node.operation))
        kind += convolution->groups > 1 ? " of groups" : " of all";
      EXPECT_EQ(kinds.emplace(node.name, kind).first->second, kind) << node.name;
    }
  }
}

TEST_P(SpaceProperties, DecisionsHaveNamesOfTheirOwnAndDifferentChoices) {
  std::set<std::string> names;
  for (const Decision& decision : space_->decisions()) {
    EXPECT_TRUE(names.insert(decision.name).second) << decision.name;
    EXPECT_GE(decision.choices.size(), 2U) << decision.name;
    EXPECT_EQ(std::set(decision.choices.begin(), decision.choices.end()).size(), decision.choices.size());
  }
}

}  // namespace
}  // namespace finch::search
