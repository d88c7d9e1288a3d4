// Exported files against the module they were made from, run by ONNX Runtime in finch-agent as they would be deployed.
#include "trainer/export.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <format>
#include <fstream>
#include <map>
#include <random>
#include <set>

#include "search/cost_model.hpp"
#include "search/search_space.hpp"
#include "tests/search/sample_custom_space.hpp"
#include "tests/trainer/deployed_file.hpp"
#include "tests/trainer/sample_data.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {
namespace {

std::string exported(NetworkModule& module, const ImageSplit& images, const std::string& precision) {
  const std::vector<std::string> precisions = {precision};
  auto models = export_models(module, images, {}, {}, precisions, [](double) {});
  EXPECT_TRUE(models) << models.error().message;
  return models->models.front().bytes;
}

// Of all weights and biases that Conv and Gemm nodes read.
std::int64_t parameters_of(const std::string& model) {
  onnx::ModelProto proto;
  proto.ParseFromString(model);
  std::map<std::string, std::int64_t> sizes;
  for (const auto& initializer : proto.graph().initializer()) {
    std::int64_t size = 1;
    for (const std::int64_t dimension : initializer.dims()) size *= dimension;
    sizes[initializer.name()] = size;
  }
  std::int64_t parameters = 0;
  for (const auto& node : proto.graph().node()) {
    if (node.op_type() != "Conv" && node.op_type() != "Gemm") continue;
    for (const std::string& input : node.input()) parameters += sizes[input];
  }
  return parameters;
}

void expect_parity(const search::SpaceConfig& config, int genotypes) {
  const auto space = search::make_search_space(config);
  ASSERT_TRUE(space);
  std::mt19937_64 generator(1);
  for (int i = 0; i < genotypes; ++i) {
    search::Genotype genotype = (*space)->random(generator);
    while (!(*space)->decode(genotype)) genotype = (*space)->random(generator);  // a cell that computes nothing
    SCOPED_TRACE(search::to_string(genotype));
    torch::manual_seed(i);
    NetworkModule module((*space)->decode(genotype).value(),
                         std::vector<float>(static_cast<std::size_t>(config.image.channels), 0.3F),
                         std::vector<float>(static_cast<std::size_t>(config.image.channels), 0.25F));
    disturb_statistics(module);
    module.eval();
    const std::string model = exported(module, random_images(config.image, 4), "fp32");

    const std::int64_t batch = i % 2 == 0 ? 1 : 3;
    const torch::Tensor images = torch::rand({batch, config.image.channels, config.image.height, config.image.width});
    std::int64_t macs = 0;
    const torch::NoGradGuard no_grad;
    const torch::Tensor expected = module.forward(images, [&](std::int32_t index, const torch::Tensor& output) {
      const search::Node& node = module.network().nodes[static_cast<std::size_t>(index)];
      EXPECT_EQ(output.numel() / batch, node.shape.elements()) << node.name;
      const auto weight = module.state().find(node.name + ".weight");
      if (weight != module.state().end())
        macs += output.numel() / batch * (weight->second.numel() / weight->second.size(0));
    });
    const search::Cost cost = search::cost_of(module.network());
    EXPECT_EQ(macs, cost.macs);
    EXPECT_EQ(parameters_of(model), cost.parameters);
    const torch::Tensor actual = run_file(model, images, config.classes);
    const double scale = std::max(1.0, expected.abs().max().item<double>());
    EXPECT_LE((actual - expected).abs().max().item<double>(), 1e-4 * scale);
  }
}

TEST(ExportTest, ComputesWhatTheModuleComputesForGreyImagesOf28) {
  expect_parity({"mobilenet", {1, 28, 28}, 10}, 40);
}
TEST(ExportTest, ComputesWhatTheModuleComputesForColourImagesOf32) {
  expect_parity({"mobilenet", {3, 32, 32}, 7}, 10);
}
TEST(ExportTest, ComputesWhatTheModuleComputesInTheShufflenetSpace) {
  expect_parity({"shufflenet", {1, 28, 28}, 10}, 40);
  expect_parity({"shufflenet", {3, 32, 32}, 7}, 10);
}
TEST(ExportTest, ComputesWhatTheModuleComputesInTheNasbench201Space) {
  expect_parity({"nasbench201", {1, 28, 28}, 10}, 40);
  expect_parity({"nasbench201", {3, 30, 30}, 7}, 10);
}
TEST(ExportTest, ComputesWhatTheModuleComputesInASpaceOfTheUsersOwn) {
  expect_parity({"mine", {1, 28, 28}, 10, search::sample_custom_space()}, 40);
  expect_parity({"mine", {3, 32, 32}, 7, search::sample_custom_space()}, 10);
}
TEST(ExportTest, ComputesWhatTheModuleComputesForColourImagesOf224) {
  expect_parity({"mobilenet", {3, 224, 224}, 100}, 2);
}

// Trains one network of the space and compares its two files on the test images.
void expect_int8_agrees(const search::SpaceConfig& config, const search::Genotype& genotype) {
  const Dataset data = sample_dataset();
  const auto space = search::make_search_space(config);
  ASSERT_TRUE(space);
  torch::manual_seed(1);
  NetworkModule module((*space)->decode(genotype.empty() ? (*space)->smallest() : genotype).value(), data.mean,
                       data.stddev);
  TrainingOptions options;
  options.epochs = 20;
  options.batch_size = 16;
  Training training(module, data.train, {}, options);
  ASSERT_TRUE(run(training, [](double) {}));
  const std::string fp32 = exported(module, data.train, "fp32");
  const std::string int8 = exported(module, data.train, "int8");
  const torch::Tensor images = plain_images(data.test, 0, data.test.size());
  const torch::Tensor expected = run_file(fp32, images, kSampleClasses).argmax(1);
  const torch::Tensor actual = run_file(int8, images, kSampleClasses).argmax(1);
  EXPECT_GE(expected.eq(actual).sum().item<std::int64_t>(), data.test.size() - 2);
  onnx::ModelProto proto;
  proto.ParseFromString(int8);
  EXPECT_TRUE(
      std::ranges::any_of(proto.graph().node(), [](const auto& node) { return node.op_type() == "QuantizeLinear"; }));
}

constexpr search::TensorShape kSampleImage{1, kSampleSize, kSampleSize};

TEST(ExportTest, Int8AgreesWithFp32OnATrainedNetwork) {
  expect_int8_agrees({"mobilenet", kSampleImage, kSampleClasses}, {});
}
TEST(ExportTest, Int8AgreesWithFp32InTheShufflenetSpace) {
  // Two units a stage: the second passes half of its channels by. Both branches.
  expect_int8_agrees({"shufflenet", kSampleImage, kSampleClasses},
                     {2, 1, 1, 0, 1, 3, 1, 1, 1, 1, 0, 1, 0, 0, 1, 3, 0, 0, 1, 0, 0});
}
TEST(ExportTest, Int8AgreesWithFp32InTheNasbench201Space) {
  expect_int8_agrees({"nasbench201", kSampleImage, kSampleClasses}, {3, 4, 1, 1, 2, 3});
}
TEST(ExportTest, Int8AgreesWithFp32InASpaceOfTheUsersOwn) {
  expect_int8_agrees({"mine", kSampleImage, kSampleClasses, search::sample_custom_space()}, {});
}

TEST(ExportTest, DividesTheStandardDeviationIntoTheFirstConvolution) {
  const auto operators = [](const search::Operation& second) {
    search::NetworkBuilder builder({3, 8, 8});
    std::int32_t x = builder.add("normalize", search::Normalize{}, {0});
    x = builder.add("resize", search::Resize{.height = 6, .width = 6}, {x});
    x = builder.add("first", second, {x});
    x = builder.add("pool", search::GlobalAveragePool{}, {x});
    builder.add("classifier", search::Linear{.out_features = 5}, {x});
    torch::manual_seed(1);
    NetworkModule module(builder.finish().value(), {0.3F, 0.4F, 0.5F}, {0.25F, 0.2F, 0.3F});
    module.eval();
    const std::string file = exported(module, {}, "fp32");
    const torch::NoGradGuard no_grad;
    const torch::Tensor images = torch::rand({3, 3, 8, 8});
    EXPECT_TRUE(torch::allclose(run_file(file, images, 5), module.forward(images).flatten(1), 1e-4, 1e-5));
    onnx::ModelProto proto;
    proto.ParseFromString(file);
    std::multiset<std::string> types;
    for (const auto& node : proto.graph().node()) types.insert(node.op_type());
    return types;
  };
  const auto convolution = operators(search::Convolution{.out_channels = 4, .kernel_size = 3, .padding = 1});
  EXPECT_EQ(convolution.count("Mul"), 0U);
  EXPECT_EQ(convolution.count("Add"), 1U);
  const auto pool = operators(search::AveragePool{.kernel_size = 2, .stride = 2});
  EXPECT_EQ(pool.count("Mul"), 1U);
}

// The layers that read the image, and no others, run in floats; the file says so.
TEST(ExportTest, Int8LeavesTheLayersOfTheImageInFp32) {
  for (const char* name : {"mobilenet", "shufflenet", "nasbench201"}) {
    SCOPED_TRACE(name);
    const auto space = search::make_search_space({name, {3, 32, 32}, 10}).value();
    std::mt19937_64 generator(6);
    search::Genotype genotype = space->random(generator);
    while (!space->decode(genotype)) genotype = space->random(generator);
    NetworkModule module(space->decode(genotype).value(), {0.3F, 0.4F, 0.5F}, {0.25F, 0.2F, 0.3F});
    disturb_statistics(module);
    const std::string int8 = exported(module, random_images({3, 32, 32}, 8), "int8");
    const std::set<std::int32_t> of_image = layers_of_image(module.network());
    ASSERT_EQ(of_image.size(), 1U);
    const std::string& stem = module.network().nodes[static_cast<std::size_t>(*of_image.begin())].name;
    onnx::ModelProto proto;
    proto.ParseFromString(int8);
    std::map<std::string, std::string> metadata;
    for (const auto& entry : proto.metadata_props()) metadata[entry.key()] = entry.value();
    EXPECT_EQ(metadata["float_layers"], "[\"" + stem + "\"]");
    for (const auto& [node, kernel] : kernels_of(int8)) {
      if (kernel.ends_with("Conv") || kernel.ends_with("Gemm")) {
        EXPECT_EQ(kernel == "QLinearConv" || kernel == "QGemm", !node.starts_with(stem)) << node << ": " << kernel;
      }
    }
  }
}

TEST(ExportTest, FlushesDenormalWeights) {
  const auto space = search::make_search_space({"mobilenet", {1, 28, 28}, 10});
  ASSERT_TRUE(space);
  NetworkModule module((*space)->decode((*space)->smallest()).value(), {0.3F}, {0.25F});
  {
    const torch::NoGradGuard no_grad;
    // The classifier has no BatchNorm that would scale the planted values when it is folded.
    module.state().at("classifier.weight").detach().fill_(1e-40F);
  }
  const std::vector<std::string> precisions = {"fp32"};
  const auto models = export_models(module, random_images({1, 28, 28}, 4), {}, {}, precisions, [](double) {});
  ASSERT_TRUE(models) << models.error().message;
  EXPECT_EQ(models->flushed_weights, module.state().at("classifier.weight").numel());
  onnx::ModelProto proto;
  proto.ParseFromString(models->models.front().bytes);
  for (const auto& initializer : proto.graph().initializer()) {
    if (initializer.data_type() != onnx::TensorProto_DataType_FLOAT) continue;
    const std::string& raw = initializer.raw_data();
    for (std::size_t at = 0; at + sizeof(float) <= raw.size(); at += sizeof(float)) {
      float value = 0;
      std::memcpy(&value, raw.data() + at, sizeof value);
      EXPECT_NE(std::fpclassify(value), FP_SUBNORMAL) << initializer.name();
    }
  }
}

}  // namespace
}  // namespace finch::trainer
