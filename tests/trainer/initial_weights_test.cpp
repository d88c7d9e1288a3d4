// Weights of other origins as the beginning of a space's networks.
#include "trainer/initial_weights.hpp"

#include <gmock/gmock.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <format>
#include <fstream>
#include <functional>

#include "search/search_space.hpp"
#include "tests/trainer/temporary_folder.hpp"
#include "trainer/onnx_writer.hpp"
#include "trainer/safetensors.hpp"

namespace finch::trainer {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr std::int64_t kClasses = 10;

std::unique_ptr<search::SearchSpace> space_of(const char* name, std::int64_t channels = 3,
                                              std::int64_t classes = kClasses) {
  return search::make_search_space({name, {channels, 32, 32}, classes}).value();
}

// At width 1.0, with 3x3 kernels everywhere and every block that the space allows; `excited`: a stage with
// squeeze-and-excitation.
NetworkModule module_of(const search::SearchSpace& space, const std::string& excited = "") {
  search::Genotype genotype;
  for (const search::Decision& decision : space.decisions()) {
    int choice = 0;
    if (decision.name == "width_multiplier") choice = 2;
    if (decision.name.ends_with(".depth")) choice = static_cast<int>(decision.choices.size()) - 1;
    if (decision.name.ends_with(".expand_ratio") || decision.name.ends_with(".channel_ratio")) choice = 1;
    if (decision.name == excited + ".squeeze_excite") choice = 1;
    genotype.push_back(choice);
  }
  return {space.decode(genotype).value(), {0, 0, 0}, {1, 1, 1}};
}

class StateDict {
 public:
  void convolution(const std::string& name, const std::string& norm, std::vector<std::int64_t> shape) {
    tensors[name + ".weight"] = torch::randn(shape);
    for (const char* part : {"weight", "bias", "running_mean", "running_var"})
      tensors[norm + "." + part] = torch::rand({shape[0]});
    tensors[norm + ".num_batches_tracked"] = torch::tensor(std::int64_t{7});
  }
  void linear(const std::string& name, std::int64_t out, std::int64_t in) {
    tensors[name + ".weight"] = torch::randn({out, in});
    tensors[name + ".bias"] = torch::randn({out});
  }
  NamedTensors tensors;
};

// Of the blocks from the second on: `place(index, in, out)`, the channels before and behind. Returns the head's index.
int for_each_block(const std::function<void(int, std::int64_t, std::int64_t)>& place) {
  int index = 2;
  std::int64_t in = 16;
  for (const auto& [out, depth] : {std::pair(16, 2), {32, 3}, {64, 1}}) {
    for (int b = 0; b < depth; ++b, ++index, in = out) place(index, in, out);
  }
  return index;
}

// As torchvision names MobileNetV2's, in the sizes of the space `mobilenet` for 32 x 32 images at width 1.0.
NamedTensors mobilenet_v2() {
  StateDict dict;
  dict.convolution("features.0.0", "features.0.1", {16, 3, 3, 3});
  dict.convolution("features.1.conv.0.0", "features.1.conv.0.1", {16, 1, 3, 3});
  dict.convolution("features.1.conv.1", "features.1.conv.2", {8, 16, 1, 1});
  const int index = for_each_block([&](int i, std::int64_t in, std::int64_t out) {
    const std::string at = std::format("features.{}.conv.", i);
    dict.convolution(at + "0.0", at + "0.1", {3 * in, in, 1, 1});
    dict.convolution(at + "1.0", at + "1.1", {3 * in, 1, 3, 3});
    dict.convolution(at + "2", at + "3", {out, 3 * in, 1, 1});
  });
  const std::string head = std::format("features.{}", index);
  dict.convolution(head + ".0", head + ".1", {160, 64, 1, 1});
  dict.linear("classifier.1", 1000, 160);
  return dict.tensors;
}

// The same network as torchvision names MobileNetV3's, whose first block has no expansion, with squeeze-and-excitation
// in the second stage; two fully connected layers are behind the features.
NamedTensors mobilenet_v3(const NetworkModule& sizes) {
  StateDict dict;
  dict.convolution("features.0.0", "features.0.1", {16, 3, 3, 3});
  dict.convolution("features.1.block.0.0", "features.1.block.0.1", {16, 1, 3, 3});
  dict.convolution("features.1.block.1.0", "features.1.block.1.1", {8, 16, 1, 1});
  const int index = for_each_block([&](int i, std::int64_t in, std::int64_t out) {
    const std::string at = std::format("features.{}.block.", i);
    int part = 2;
    dict.convolution(at + "0.0", at + "0.1", {3 * in, in, 1, 1});
    dict.convolution(at + "1.0", at + "1.1", {3 * in, 1, 3, 3});
    if (out == 32) {
      const std::string own = std::format("stage2.block{}.", i - 4);
      for (const auto& [theirs, ours] : {std::pair("fc1", "reduce"), {"fc2", "excite"}}) {
        for (const char* tensor : {".weight", ".bias"})
          dict.tensors[at + "2." + theirs + tensor] = torch::randn_like(sizes.state().at(own + ours + tensor));
      }
      ++part;
    }
    dict.convolution(std::format("{}{}.0", at, part), std::format("{}{}.1", at, part), {out, 3 * in, 1, 1});
  });
  dict.convolution(std::format("features.{}.0", index), std::format("features.{}.1", index), {160, 64, 1, 1});
  dict.linear("classifier.0", 1280, 160);
  dict.linear("classifier.3", 1000, 1280);
  return dict.tensors;
}

NamedTensors shufflenet_v2() {
  StateDict dict;
  dict.convolution("conv1.0", "conv1.1", {16, 3, 3, 3});
  std::int64_t in = 16;
  for (int s = 0; s < 3; ++s) {
    const std::int64_t half = std::int64_t{16} << s;
    for (int b = 0; b < 2; ++b) {
      const std::string at = std::format("stage{}.{}.", s + 2, b);
      if (b == 0) {
        dict.convolution(at + "branch1.0", at + "branch1.1", {in, 1, 3, 3});
        dict.convolution(at + "branch1.2", at + "branch1.3", {half, in, 1, 1});
      }
      dict.convolution(at + "branch2.0", at + "branch2.1", {half, b == 0 ? in : half, 1, 1});
      dict.convolution(at + "branch2.3", at + "branch2.4", {half, 1, 3, 3});
      dict.convolution(at + "branch2.5", at + "branch2.6", {half, half, 1, 1});
    }
    in = 2 * half;
  }
  dict.convolution("conv5.0", "conv5.1", {160, in, 1, 1});
  dict.linear("fc", kClasses, 160);
  return dict.tensors;
}

class InitialWeights : public testing::Test {
 protected:
  InitialWeights() { torch::manual_seed(3); }

  std::string write(const std::string& bytes) const {
    const auto path = folder_.path() / "weights";
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
  }
  MatchedWeights match(const NamedTensors& file, const search::SearchSpace& space) const {
    auto matched = match_weights(file, space);
    EXPECT_TRUE(matched) << matched.error().message;
    return matched ? std::move(*matched) : MatchedWeights();
  }
  static void expect_equal(const NetworkModule& module, const std::string& own, const torch::Tensor& wanted) {
    const auto found = module.state().find(own);
    ASSERT_NE(found, module.state().end()) << own;
    EXPECT_TRUE(torch::equal(found->second, wanted)) << own;
  }
  const TemporaryFolder folder_;
};

TEST_F(InitialWeights, OfMobileNetV2ComeByTheirPlace) {
  const auto path = write(serialize_safetensors(mobilenet_v2()).value());
  const NamedTensors file = read_any_weights(path).value();
  const auto space = space_of("mobilenet");
  const MatchedWeights matched = match(file, *space);
  NetworkModule module = module_of(*space);
  const torch::Tensor head = module.state().at("classifier.weight").clone();
  EXPECT_EQ(begin_with(matched.tensors, module), matched.loaded);
  expect_equal(module, "stem.weight", file.at("features.0.0.weight"));
  expect_equal(module, "stem.running_var", file.at("features.0.1.running_var"));
  expect_equal(module, "stage1.block0.expand.weight", file.at("features.2.conv.0.0.weight"));
  expect_equal(module, "stage1.block1.depthwise.weight", file.at("features.3.conv.1.0.weight"));
  expect_equal(module, "stage2.block2.project.scale", file.at("features.6.conv.3.weight"));
  expect_equal(module, "stage3.block0.project.shift", file.at("features.7.conv.3.bias"));
  expect_equal(module, "head.weight", file.at("features.8.0.weight"));
  expect_equal(module, "classifier.weight", head);
  EXPECT_THAT(matched.left_out,
              Contains(HasSubstr("head is a new one: classifier.1.weight (1000 x 160, here at most 10 x "
                                 "200), classifier.1.bias (1000, here at most 10)")));
  EXPECT_THAT(matched.left_out, Contains(HasSubstr("in this place: features.1.conv.0.0.weight, ")));
}

TEST_F(InitialWeights, OfMobileNetV3ComeByTheirPlace) {
  const auto space = space_of("mobilenet");
  NetworkModule module = module_of(*space, "stage2");
  const NamedTensors file = mobilenet_v3(module);
  const MatchedWeights matched = match(file, *space);
  EXPECT_EQ(begin_with(matched.tensors, module), matched.loaded);
  expect_equal(module, "stem.weight", file.at("features.0.0.weight"));
  expect_equal(module, "stage1.block0.expand.weight", file.at("features.2.block.0.0.weight"));
  expect_equal(module, "stage1.block1.project.scale", file.at("features.3.block.2.1.weight"));
  expect_equal(module, "stage2.block0.reduce.weight", file.at("features.4.block.2.fc1.weight"));
  expect_equal(module, "stage2.block2.excite.bias", file.at("features.6.block.2.fc2.bias"));
  expect_equal(module, "stage2.block1.project.weight", file.at("features.5.block.3.0.weight"));
  expect_equal(module, "head.running_mean", file.at("features.8.1.running_mean"));
  EXPECT_THAT(matched.left_out, Contains(HasSubstr("classifier.0.weight")));
  EXPECT_THAT(matched.left_out, Contains(HasSubstr("in this place: features.1.block.0.0.weight, ")));
}

TEST_F(InitialWeights, EveryTensorIsLoadedOrListed) {
  const NamedTensors file = mobilenet_v2();
  const MatchedWeights matched = match(file, *space_of("mobilenet", 1));
  std::string listed;
  for (const std::string& line : matched.left_out) listed += line + ",";
  std::int64_t named = 0;
  for (const auto& [name, tensor] : file) {
    if (name.ends_with("num_batches_tracked")) continue;
    const bool is_listed = listed.contains(" " + name + ",") || listed.contains(" " + name + " (");
    named += is_listed;
  }
  const auto counters =
      std::ranges::count_if(file, [](const auto& entry) { return entry.first.ends_with("num_batches_tracked"); });
  EXPECT_EQ(matched.loaded + named, std::ssize(file) - counters);
  EXPECT_THAT(listed, HasSubstr("features.0.0.weight (16 x 3 x 3 x 3, here at most 20 x 1 x 3 x 3)"));  // colour
}

TEST_F(InitialWeights, OfShuffleNetV2ComeByTheirPlace) {
  const NamedTensors file = shufflenet_v2();
  const auto space = space_of("shufflenet");
  const MatchedWeights matched = match(file, *space);
  NetworkModule module = module_of(*space);
  EXPECT_EQ(begin_with(matched.tensors, module), matched.loaded);
  EXPECT_TRUE(matched.left_out.empty());
  expect_equal(module, "stage1.block0.shortcut.depthwise.weight", file.at("stage2.0.branch1.0.weight"));
  expect_equal(module, "stage1.block0.shortcut.weight", file.at("stage2.0.branch1.2.weight"));
  expect_equal(module, "stage3.block1.branch.project.running_mean", file.at("stage4.1.branch2.6.running_mean"));
  expect_equal(module, "classifier.bias", file.at("fc.bias"));
}

TEST_F(InitialWeights, WiderNetworksTakeThemIntoTheirFirstChannels) {
  const NamedTensors file = mobilenet_v2();
  const auto space = space_of("mobilenet");
  const MatchedWeights matched = match(file, *space);
  Supernet supernet(*space, {0, 0, 0}, {1, 1, 1});
  const torch::Tensor before = supernet.weights().at("head.weight").detach().clone();
  begin_with(matched.tensors, supernet);
  const torch::Tensor after = supernet.weights().at("head.weight").detach();
  EXPECT_TRUE(torch::equal(after.slice(0, 0, 160).slice(1, 0, 64), file.at("features.8.0.weight")));
  EXPECT_TRUE(torch::equal(after.slice(0, 160), before.slice(0, 160)));
  NetworkModule module = module_of(*space);
  const auto subnet = supernet.subnet(module.network());
  ASSERT_TRUE(subnet);
  expect_equal(*subnet->module, "stage2.block0.depthwise.weight", file.at("features.4.conv.1.0.weight"));
}

TEST_F(InitialWeights, OfAnEarlierSupernetAllComeButTheHeadOfOtherClasses) {
  const auto before = space_of("mobilenet", 3, 7), now = space_of("mobilenet");
  const Supernet earlier(*before, {0.5, 0.5, 0.5}, {1, 1, 1});
  const NamedTensors file = read_any_weights(write(earlier.serialize())).value();
  const MatchedWeights matched = match(file, *now);
  EXPECT_EQ(matched.loaded, std::ssize(earlier.weights()) - 2);
  ASSERT_EQ(matched.left_out.size(), 1u);
  EXPECT_THAT(matched.left_out.front(), HasSubstr("the head is a new one: classifier.bias (7, here at most 10)"));
  Supernet supernet(*now, {0, 0, 0}, {1, 1, 1});
  EXPECT_EQ(begin_with(matched.tensors, supernet), matched.loaded);
  EXPECT_TRUE(torch::equal(supernet.weights().at("stage1.block0.depthwise.weight7"),
                           earlier.weights().at("stage1.block0.depthwise.weight7")));
}

TEST_F(InitialWeights, OfASupernetSplitByResolutionThoseOfOneResolutionCome) {
  const auto space = space_of("mobilenet");
  Supernet earlier(*space, {0.5, 0.5, 0.5}, {1, 1, 1});
  const auto whole = std::ssize(earlier.weights());
  const auto parts = earlier.split_by_resolution(*space);
  const MatchedWeights matched = match(read_any_weights(write(earlier.serialize())).value(), *space);
  EXPECT_EQ(matched.loaded, whole);
  EXPECT_THAT(matched.left_out, IsEmpty());
  for (const auto& [part, name] : parts) EXPECT_TRUE(matched.tensors.contains(name)) << name;
}

TEST_F(InitialWeights, OfFinchsOwnNetworksComeByName) {
  const auto space = space_of("shufflenet");
  const NetworkModule trained = module_of(*space);
  const MatchedWeights matched = match(trained.state(), *space);
  NetworkModule module = module_of(*space);
  EXPECT_EQ(begin_with(matched.tensors, module), std::ssize(module.state()));
  expect_equal(module, "stage2.block0.branch.depthwise.weight",
               trained.state().at("stage2.block0.branch.depthwise.weight"));
}

TEST_F(InitialWeights, OfAnOnnxFileComeByTheNamesOfItsNodes) {
  const auto space = space_of("mobilenet");
  const NetworkModule trained = module_of(*space);
  const NetworkWeights folded = trained.fold();
  const std::string bytes = write_onnx(trained.network(), folded, {}, BatchDimension::dynamic).value();
  const MatchedWeights own = match(read_any_weights(write(bytes)).value(), *space);
  EXPECT_TRUE(torch::allclose(own.tensors.at("stage1.block0.project.weight"),
                              trained
                                  .deployed_filter([&] {
                                    const auto& nodes = trained.network().nodes;
                                    return static_cast<std::size_t>(
                                        std::ranges::find(nodes, "stage1.block0.project", &search::Node::name) -
                                        nodes.begin());
                                  }())
                                  .weight));

  onnx::ModelProto model;
  ASSERT_TRUE(model.ParseFromString(bytes));
  for (onnx::NodeProto& node : *model.mutable_graph()->mutable_node()) {
    if (node.op_type() != "Conv" || node.input(1) != "stem.weight") continue;
    node.set_name("/features/features.0/features.0.0/Conv");
    node.set_input(1, "onnx::Conv_12");
  }
  for (onnx::TensorProto& tensor : *model.mutable_graph()->mutable_initializer()) {
    if (tensor.name() == "stem.weight") tensor.set_name("onnx::Conv_12");
  }
  const NamedTensors scoped = read_any_weights(write(model.SerializeAsString())).value();
  EXPECT_TRUE(torch::equal(match(scoped, *space).tensors.at("stem.weight"), own.tensors.at("stem.weight")));
}

TEST_F(InitialWeights, ThatFitNothingAreRefused) {
  const auto space = space_of("mobilenet");
  EXPECT_THAT(match_weights({{"layer4.0.conv1.weight", torch::zeros({1, 1, 1, 1})}}, *space).error().message,
              HasSubstr("none of its 1 tensors fits a network of the space (layer4.0.conv1.weight)"));
  EXPECT_THAT(read_any_weights(write("nothing")).error().message, HasSubstr("neither safetensors nor ONNX"));
}

}  // namespace
}  // namespace finch::trainer
