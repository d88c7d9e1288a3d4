#include "search/mobilenet_space.hpp"

#include <gmock/gmock.h>

#include <format>
#include <map>
#include <set>

#include "search/cost_model.hpp"
#include "tests/search/network_fingerprint.hpp"

namespace finch::search {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<SearchSpace> make(std::int64_t size, std::int64_t channels = 1, std::int64_t classes = 10) {
  auto space = make_mobilenet_space({.image = {channels, size, size}, .classes = classes});
  EXPECT_TRUE(space) << space.error().message;
  return std::move(*space);
}

Network decode(const SearchSpace& space, const Genotype& genotype) {
  auto network = space.decode(genotype);
  EXPECT_TRUE(network) << network.error().message;
  return std::move(*network);
}

std::size_t index_of(const SearchSpace& space, std::string_view name) {
  const auto decisions = space.decisions();
  for (std::size_t i = 0; i < decisions.size(); ++i) {
    if (decisions[i].name == name) return i;
  }
  ADD_FAILURE() << "no decision " << name;
  return 0;
}

class MobilenetPresets : public testing::TestWithParam<std::tuple<std::int64_t, std::int64_t>> {
 protected:
  const std::int64_t size_ = std::get<0>(GetParam());
  const std::int64_t channels_ = std::get<1>(GetParam());
  const std::unique_ptr<SearchSpace> space_ = make(size_, channels_);
};

INSTANTIATE_TEST_SUITE_P(Mobilenet, MobilenetPresets,
                         testing::Combine(testing::Values(28, 32, 224), testing::Values(1, 3)), [](const auto& tested) {
                           return std::format("{}px{}ch", std::get<0>(tested.param), std::get<1>(tested.param));
                         });

TEST_P(MobilenetPresets, RandomGenotypesDecode) {
  std::mt19937_64 generator(11);
  std::set<Genotype> genotypes;
  std::set<std::string> networks;
  for (int i = 0; i < 500; ++i) {
    const Genotype genotype = space_->random(generator);
    ASSERT_TRUE(space_->valid(genotype));
    const Network network = decode(*space_, genotype);
    EXPECT_EQ(network.input_shape(), (TensorShape{channels_, size_, size_}));
    EXPECT_EQ(network.output_shape(), (TensorShape{10, 1, 1}));
    EXPECT_EQ(network.nodes[1].name, "normalize");
    EXPECT_EQ(network.nodes.back().name, "classifier");
    for (const Node& node : network.nodes) {
      if (const auto* convolution = std::get_if<Convolution>(&node.operation)) {
        EXPECT_EQ(convolution->out_channels % 4, 0) << node.name;
      }
    }
    genotypes.insert(genotype);
    networks.insert(fingerprint(network));
  }
  EXPECT_EQ(networks.size(), genotypes.size());  // canonical: another genotype, another network
}

TEST_P(MobilenetPresets, CanonicalIsIdempotentAndKeepsTheNetwork) {
  std::mt19937_64 generator(12);
  int changed = 0;
  for (int i = 0; i < 100; ++i) {
    Genotype genotype;
    for (const Decision& decision : space_->decisions()) {
      genotype.push_back(static_cast<int>(generator() % decision.choices.size()));
    }
    const Genotype canonical = space_->canonical(genotype);
    EXPECT_EQ(space_->canonical(canonical), canonical);
    EXPECT_EQ(fingerprint(decode(*space_, canonical)), fingerprint(decode(*space_, genotype)));
    changed += canonical != genotype;
  }
  EXPECT_GT(changed, 50);
}

TEST_P(MobilenetPresets, EveryDecisionChangesTheNetworkFromCheapToCostly) {
  std::set<std::string> names;
  const Genotype largest = space_->largest();
  for (std::size_t i = 0; i < space_->decisions().size(); ++i) {
    const Decision& decision = space_->decisions()[i];
    EXPECT_TRUE(names.insert(decision.name).second) << decision.name;
    EXPECT_GE(decision.choices.size(), 2U) << decision.name;
    EXPECT_EQ(std::set(decision.choices.begin(), decision.choices.end()).size(), decision.choices.size());
    std::set<std::string> networks;
    Cost before;
    for (std::size_t choice = 0; choice < decision.choices.size(); ++choice) {
      Genotype genotype = largest;
      genotype[i] = static_cast<int>(choice);
      const Network network = decode(*space_, genotype);
      EXPECT_TRUE(networks.insert(fingerprint(network)).second) << decision.name << " " << choice;
      const Cost cost = cost_of(network);
      EXPECT_GE(cost.macs, before.macs) << decision.name;
      EXPECT_GE(cost.parameters, before.parameters) << decision.name;
      EXPECT_TRUE(decision.name == "activation" || cost.macs > before.macs) << decision.name;
      before = cost;
    }
  }
}

TEST_P(MobilenetPresets, RaisingADecisionNeverSavesAnything) {
  std::mt19937_64 generator(13);
  for (int i = 0; i < 200; ++i) {
    Genotype genotype = space_->random(generator);
    const Cost before = cost_of(decode(*space_, genotype));
    const std::size_t at = generator() % genotype.size();
    if (static_cast<std::size_t>(genotype[at]) + 1 == space_->decisions()[at].choices.size()) continue;
    ++genotype[at];
    const Cost after = cost_of(decode(*space_, space_->canonical(genotype)));
    EXPECT_GE(after.macs, before.macs) << space_->decisions()[at].name;
    EXPECT_GE(after.parameters, before.parameters) << space_->decisions()[at].name;
  }
}

// A child takes its parent's weights by name and shape: a name must mean the same layer everywhere.
TEST_P(MobilenetPresets, NodeNamesKeepTheirKindAcrossGenotypes) {
  std::mt19937_64 generator(14);
  std::map<std::string, std::string> kinds;
  for (int i = 0; i < 200; ++i) {
    for (const Node& node : decode(*space_, space_->random(generator)).nodes) {
      const auto [at, added] = kinds.emplace(node.name, operation_name(node.operation));
      EXPECT_EQ(at->second, operation_name(node.operation)) << node.name;
    }
  }
  for (const char* name : {"stem", "stage2.block1.expand", "stage2.block1.depthwise", "stage2.block1.excite",
                           "stage2.block1.project", "head", "classifier"}) {
    EXPECT_TRUE(kinds.contains(name)) << name;
  }
}

TEST(MobilenetSpace, SmallestNetworkAgreesWithHandComputedCost) {
  const auto space = make(28);
  // resize 14, stem 1 -> 8 at 7 x 7; blocks 8 -> 16 -> 8 at 7 x 7, 8 -> 16 -> 16 at 4 x 4, 16 -> 32 -> 32 at 2 x 2;
  // head 32 -> 64 at 2 x 2; classifier 64 -> 10.
  const Cost cost = cost_of(decode(*space, space->smallest()));
  const std::int64_t macs = 8 * 49 * 9                                         // stem
                            + 16 * 8 * 49 + 16 * 9 * 49 + 8 * 16 * 49          // stage 1
                            + 16 * 8 * 49 + 16 * 9 * 16 + 16 * 16 * 16         // stage 2
                            + 32 * 16 * 16 + 32 * 9 * 4 + 32 * 32 * 4          // stage 3
                            + 64 * 32 * 4 + 10 * 64;                           // head, classifier
  const std::int64_t parameters = 8 * 9 + 8                                    //
                                  + 16 * 8 + 16 + 16 * 9 + 16 + 8 * 16 + 8     //
                                  + 16 * 8 + 16 + 16 * 9 + 16 + 16 * 16 + 16   //
                                  + 32 * 16 + 32 + 32 * 9 + 32 + 32 * 32 + 32  //
                                  + 64 * 32 + 64 + 10 * 64 + 10;
  EXPECT_EQ(cost.macs, macs);
  EXPECT_EQ(cost.parameters, parameters);
  // stage1.block0: its input, kept for the shortcut, [8, 7, 7], and twice [16, 7, 7] around the activation.
  EXPECT_EQ(cost.peak_activation_bytes, 4 * 49 * (8 + 16 + 16));
}

TEST(MobilenetSpace, SqueezeExciteIsAGateOnTheExpandedChannels) {
  const auto space = make(28);
  Genotype genotype = space->smallest();
  genotype[index_of(*space, "stage2.squeeze_excite")] = 1;
  std::map<std::string, Node> nodes;
  const Network network = decode(*space, genotype);
  for (const Node& node : network.nodes) nodes.emplace(node.name, node);
  EXPECT_FALSE(nodes.contains("stage1.block0.scale"));
  ASSERT_TRUE(nodes.contains("stage2.block0.scale"));
  EXPECT_EQ(nodes.at("stage2.block0.scale").shape, (TensorShape{16, 4, 4}));
  EXPECT_EQ(nodes.at("stage2.block0.squeeze").shape, (TensorShape{16, 1, 1}));
  EXPECT_EQ(nodes.at("stage2.block0.reduce").shape, (TensorShape{4, 1, 1}));
  EXPECT_EQ(nodes.at("stage2.block0.gate").shape, (TensorShape{16, 1, 1}));
  EXPECT_EQ(std::get<Activation>(nodes.at("stage2.block0.gate").operation).kind, ActivationKind::hard_sigmoid);
  EXPECT_FALSE(std::get<Convolution>(nodes.at("stage2.block0.reduce").operation).batch_norm);
  EXPECT_TRUE(std::get<Convolution>(nodes.at("stage2.block0.excite").operation).bias);
}

TEST(MobilenetSpace, ResizesOnlyWhenTheResolutionDiffers) {
  const auto space = make(28, 3);
  const std::size_t at = index_of(*space, "resolution");
  EXPECT_THAT(space->decisions()[at].choices, testing::ElementsAre("14", "20", "28"));
  Genotype genotype = space->largest();
  EXPECT_EQ(decode(*space, genotype).nodes[2].name, "stem");
  genotype[at] = 1;
  const Network network = decode(*space, genotype);
  EXPECT_EQ(network.nodes[2].name, "resize");
  EXPECT_EQ(network.nodes[2].shape, (TensorShape{3, 20, 20}));
}

TEST(MobilenetSpace, CostsSpanWhatTheImagesNeed) {
  const auto at_28 = make(28);
  const Cost small = cost_of(decode(*at_28, at_28->smallest()));
  const Cost large = cost_of(decode(*at_28, at_28->largest()));
  EXPECT_LT(small.macs, 150'000);
  EXPECT_LT(small.parameters, 10'000);
  EXPECT_GT(large.macs, 10'000'000);
  EXPECT_LT(large.macs, 20'000'000);
  EXPECT_GT(large.parameters, 300'000);
  EXPECT_LT(large.parameters, 500'000);
  bool middle = false;
  std::mt19937_64 generator(3);
  for (int i = 0; i < 1000 && !middle; ++i) {
    const Cost cost = cost_of(decode(*at_28, at_28->random(generator)));
    middle = cost.parameters > 80'000 && cost.parameters < 120'000 && cost.macs > 2'500'000 && cost.macs < 3'500'000;
  }
  EXPECT_TRUE(middle);

  const auto at_224 = make(224, 3, 1000);
  EXPECT_LT(cost_of(decode(*at_224, at_224->smallest())).macs, 20'000'000);
  EXPECT_GT(cost_of(decode(*at_224, at_224->largest())).macs, 500'000'000);
}

TEST(MobilenetSpace, ServesEverySizeFrom16To512) {
  for (std::int64_t size = 16; size <= 512; ++size) {
    const auto space = make(size, 3);
    const auto& resolutions = space->decisions()[index_of(*space, "resolution")].choices;
    EXPECT_EQ(std::set(resolutions.begin(), resolutions.end()).size(), resolutions.size()) << size;
    EXPECT_EQ(resolutions.back(), std::to_string(size));
    EXPECT_TRUE(space->decode(space->smallest())) << size;
    EXPECT_TRUE(space->decode(space->largest())) << size;
  }
}

TEST(MobilenetSpace, RefusesWhatItCannotServe) {
  for (const TensorShape& image : {TensorShape{1, 15, 15}, TensorShape{3, 513, 513}, TensorShape{3, 32, 28},
                                   TensorShape{0, 28, 28}, TensorShape{3, -5, -5}}) {
    const auto space = make_mobilenet_space({.image = image, .classes = 10});
    ASSERT_FALSE(space);
    EXPECT_THAT(space.error().message, HasSubstr("square images of 16 to 512 pixels"));
    EXPECT_THAT(space.error().message, HasSubstr(std::format("{} x {}", image.height, image.width)));
  }
  const auto space = make_mobilenet_space({.image = {1, 28, 28}, .classes = 1});
  ASSERT_FALSE(space);
  EXPECT_THAT(space.error().message, HasSubstr("2 classes"));
}

TEST(MobilenetSpace, RefusesAGenotypeOfAnotherSpace) {
  const auto space = make(28);
  for (const Genotype& genotype : {Genotype{}, Genotype{0, 1}, make(224)->smallest()}) {
    const auto network = space->decode(genotype);
    ASSERT_FALSE(network);
    EXPECT_THAT(network.error().message, HasSubstr("does not belong to the space mobilenet for 28 x 28"));
  }
  Genotype genotype = space->smallest();
  genotype[0] = 3;
  EXPECT_FALSE(space->decode(genotype));
}

}  // namespace
}  // namespace finch::search
