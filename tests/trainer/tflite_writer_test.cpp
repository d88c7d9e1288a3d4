// TensorFlow Lite files against the ONNX files of the same networks, each run by its own runtime as deployed.
#include "trainer/tflite_writer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "search/search_space.hpp"
#include "tests/search/sample_custom_space.hpp"
#include "tests/trainer/deployed_file.hpp"
#include "tests/trainer/sample_data.hpp"
#include "trainer/batch_source.hpp"
#include "trainer/calibration.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {
namespace {

using testing::HasSubstr;

#define NEEDS_LITERT() \
  if (!litert_is_here()) GTEST_SKIP() << "LiteRT is not here: scripts/install-runtime litert"

// In the layout that the file takes.
torch::Tensor run_tflite(const std::string& model, const torch::Tensor& images, std::int64_t classes) {
  return run_file(model, images.permute({0, 2, 3, 1}), classes);
}

// A module as files; int8 is calibrated on the images.
struct Files {
  Files(NetworkModule& module, const ImageSplit& images, const std::set<std::int32_t>& float_layers = {}) {
    const std::vector<ActivationRange> ranges = calibrate(module, images, {});
    const NetworkWeights weights = module.fold();
    onnx = write_onnx(module.network(), weights, {}, BatchDimension::dynamic).value();
    tflite = write_tflite(module.network(), weights, {}, BatchDimension::dynamic).value();
    int8 = write_quantized_tflite(module.network(), weights, ranges, float_layers, {}, BatchDimension::dynamic).value();
  }
  std::string onnx, tflite, int8;
};

void expect_parity(const search::SpaceConfig& config, int genotypes) {
  const auto space = search::make_search_space(config);
  ASSERT_TRUE(space);
  std::mt19937_64 generator(5);
  for (int i = 0; i < genotypes; ++i) {
    search::Genotype genotype = (*space)->random(generator);
    while (!(*space)->decode(genotype)) genotype = (*space)->random(generator);
    SCOPED_TRACE(search::to_string(genotype));
    torch::manual_seed(i);
    NetworkModule module((*space)->decode(genotype).value(),
                         std::vector<float>(static_cast<std::size_t>(config.image.channels), 0.3F),
                         std::vector<float>(static_cast<std::size_t>(config.image.channels), 0.25F));
    disturb_statistics(module);
    module.eval();
    const NetworkWeights weights = module.fold();
    const auto onnx = write_onnx(module.network(), weights, {}, BatchDimension::dynamic);
    const auto tflite = write_tflite(module.network(), weights, {}, BatchDimension::dynamic);
    ASSERT_TRUE(onnx) << onnx.error().message;
    ASSERT_TRUE(tflite) << tflite.error().message;
    const std::int64_t batch = i % 2 == 0 ? 1 : 3;
    const torch::Tensor images = torch::rand({batch, config.image.channels, config.image.height, config.image.width});
    const torch::Tensor expected = run_file(*onnx, images, config.classes);
    const torch::Tensor actual = run_tflite(*tflite, images, config.classes);
    const double scale = std::max(1.0, expected.abs().max().item<double>());
    EXPECT_LE((actual - expected).abs().max().item<double>(), 1e-4 * scale);
  }
}

TEST(TfliteWriterTest, ComputesWhatTheOnnxFileComputesInTheMobilenetSpace) {
  NEEDS_LITERT();
  expect_parity({"mobilenet", {1, 28, 28}, 10}, 6);
  expect_parity({"mobilenet", {3, 33, 33}, 7}, 4);  // odd: other paddings
}
TEST(TfliteWriterTest, ComputesWhatTheOnnxFileComputesInTheShufflenetSpace) {
  NEEDS_LITERT();
  expect_parity({"shufflenet", {1, 28, 28}, 10}, 6);
  expect_parity({"shufflenet", {3, 32, 32}, 7}, 3);
}
TEST(TfliteWriterTest, ComputesWhatTheOnnxFileComputesInTheNasbench201Space) {
  NEEDS_LITERT();
  expect_parity({"nasbench201", {1, 28, 28}, 10}, 4);
  expect_parity({"nasbench201", {3, 30, 30}, 7}, 3);
}
TEST(TfliteWriterTest, ComputesWhatTheOnnxFileComputesInASpaceOfTheUsersOwn) {
  NEEDS_LITERT();
  expect_parity({"mine", {1, 28, 28}, 10, search::sample_custom_space()}, 10);
  expect_parity({"mine", {3, 32, 32}, 7, search::sample_custom_space()}, 4);
}
TEST(TfliteWriterTest, ComputesWhatTheOnnxFileComputesForImagesOf224) {
  NEEDS_LITERT();
  expect_parity({"mobilenet", {3, 224, 224}, 100}, 1);
}

// Trains one network of the space and compares its int8 TensorFlow Lite file with its fp32 ONNX file on the test
// images: the same class for all but one in fifty, and logits within a tenth of their range.
void expect_int8_agrees(const search::SpaceConfig& config, const search::Genotype& genotype, double epochs = 20) {
  const Dataset data = sample_dataset();
  const auto space = search::make_search_space(config);
  ASSERT_TRUE(space);
  torch::manual_seed(1);
  NetworkModule module((*space)->decode(genotype.empty() ? (*space)->smallest() : genotype).value(), data.mean,
                       data.stddev);
  TrainingOptions options;
  options.epochs = epochs;
  options.batch_size = 16;
  Training training(module, data.train, {}, options);
  ASSERT_TRUE(run(training, [](double) {}));
  const Files files(module, data.train);
  const torch::Tensor images = plain_images(data.test, 0, data.test.size());
  const torch::Tensor expected = run_file(files.onnx, images, kSampleClasses);
  const torch::Tensor actual = run_tflite(files.int8, images, kSampleClasses);
  EXPECT_GE(expected.argmax(1).eq(actual.argmax(1)).sum().item<std::int64_t>(),
            data.test.size() - data.test.size() / 50 - 1);
  const double range = (expected.max() - expected.min()).item<double>();
  EXPECT_LE((actual - expected).abs().mean().item<double>(), 0.1 * range);
}

constexpr search::TensorShape kSampleImage{1, kSampleSize, kSampleSize};

TEST(TfliteWriterTest, Int8AgreesInTheMobilenetSpace) {
  NEEDS_LITERT();
  expect_int8_agrees({"mobilenet", kSampleImage, kSampleClasses}, {});
}
TEST(TfliteWriterTest, Int8AgreesInTheShufflenetSpace) {
  NEEDS_LITERT();
  expect_int8_agrees({"shufflenet", kSampleImage, kSampleClasses},
                     {2, 1, 1, 0, 1, 3, 1, 1, 1, 1, 0, 1, 0, 0, 1, 3, 0, 0, 1, 0, 0}, /*epochs=*/6);
}
TEST(TfliteWriterTest, Int8AgreesInTheNasbench201Space) {
  NEEDS_LITERT();
  expect_int8_agrees({"nasbench201", kSampleImage, kSampleClasses}, {3, 4, 1, 1, 2, 3});
}
TEST(TfliteWriterTest, Int8AgreesInASpaceOfTheUsersOwn) {
  NEEDS_LITERT();
  expect_int8_agrees({"mine", kSampleImage, kSampleClasses, search::sample_custom_space()}, {});
}

// Every activation, on its own and behind a convolution, in int8: all ranges are known exactly.
TEST(TfliteWriterTest, Int8HasEveryActivation) {
  NEEDS_LITERT();
  using enum search::ActivationKind;
  for (const auto kind : {relu, relu6, hard_swish, hard_sigmoid, sigmoid, silu}) {
    SCOPED_TRACE(search::to_string(kind));
    search::NetworkBuilder builder({1, 6, 6});
    std::int32_t x = builder.add("normalize", search::Normalize{}, {0});
    const std::int32_t a =
        builder.add("a", search::Convolution{.out_channels = 8, .kernel_size = 3, .padding = 1}, {x});
    x = builder.add("b", search::Activation{kind}, {a});
    x = builder.add("sum", search::Add{}, {x, a});  // so that the activation is not the convolution's only reader
    x = builder.add("c", search::Activation{kind}, {x});
    x = builder.add("pool", search::GlobalAveragePool{}, {x});
    builder.add("classifier", search::Linear{.out_features = 5}, {x});
    torch::manual_seed(3);
    NetworkModule module(builder.finish().value(), {0.3F}, {0.25F});
    module.eval();
    const Files files(module, random_images({1, 6, 6}, 64));
    const torch::Tensor images = torch::rand({16, 1, 6, 6});
    const torch::Tensor expected = run_tflite(files.tflite, images, 5);
    const torch::Tensor actual = run_tflite(files.int8, images, 5);
    const double range = (expected.max() - expected.min()).item<double>();
    EXPECT_LE((actual - expected).abs().max().item<double>(), 0.1 * range);
  }
}

// A layer in float on the image, one between integers, one before the logits; and all of them.
TEST(TfliteWriterTest, Int8KeepsLayersInFloatWhereAsked) {
  NEEDS_LITERT();
  search::NetworkBuilder builder({3, 12, 12});
  std::int32_t x = builder.add("normalize", search::Normalize{}, {0});
  const std::int32_t stem =
      builder.add("stem", search::Convolution{.out_channels = 64, .kernel_size = 3, .padding = 1}, {x});
  x = builder.add("relu", search::Activation{search::ActivationKind::relu}, {stem});
  const std::int32_t a = builder.add("a", search::Convolution{.out_channels = 64, .kernel_size = 3, .padding = 1}, {x});
  x = builder.add("swish", search::Activation{search::ActivationKind::hard_swish}, {a});
  const std::int32_t b = builder.add("b", search::Convolution{.out_channels = 64, .kernel_size = 3, .padding = 1}, {x});
  x = builder.add("sum", search::Add{}, {b, x});
  x = builder.add("pool", search::GlobalAveragePool{}, {x});
  const std::int32_t classifier = builder.add("classifier", search::Linear{.out_features = 5}, {x});
  torch::manual_seed(3);
  NetworkModule module(builder.finish().value(), {0.3F, 0.4F, 0.5F}, {0.25F, 0.2F, 0.3F});
  module.eval();
  const ImageSplit split = random_images({3, 12, 12}, 64);
  const torch::Tensor images = torch::rand({16, 3, 12, 12});
  const Files integers(module, split);
  EXPECT_LT(integers.int8.size(), 0.35 * static_cast<double>(integers.tflite.size()));
  const torch::Tensor expected = run_tflite(integers.tflite, images, 5);
  const auto error = [&](const Files& files) {
    return (run_tflite(files.int8, images, 5) - expected).abs().mean().item<double>();
  };
  const double range = (expected.max() - expected.min()).item<double>();
  EXPECT_LE(error(integers), 0.1 * range);
  for (const std::set<std::int32_t>& float_layers :
       {std::set{stem}, std::set{b}, std::set{classifier}, std::set{stem, a, b, classifier}}) {
    const Files mixed(module, split, float_layers);
    EXPECT_GT(mixed.int8.size(), integers.int8.size());
    EXPECT_LE(error(mixed), 0.1 * range);
  }
  EXPECT_LT(error(Files(module, split, {stem, a, b, classifier})), error(integers));
}

TEST(TfliteWriterTest, RefusesWhatTheFormatCannotSay) {
  search::NetworkBuilder builder({4, 6, 6});
  std::int32_t x = builder.add("grouped", search::Convolution{.out_channels = 8, .groups = 2}, {0});
  x = builder.add("pool", search::GlobalAveragePool{}, {x});
  builder.add("classifier", search::Linear{.out_features = 5}, {x});
  NetworkModule module(builder.finish().value(), std::vector<float>(4, 0.0F), std::vector<float>(4, 1.0F));
  const auto written = write_tflite(module.network(), module.fold(), {}, BatchDimension::dynamic);
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().message, HasSubstr("'grouped' is a convolution of 2 groups"));
}

}  // namespace
}  // namespace finch::trainer
