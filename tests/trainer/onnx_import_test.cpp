// ONNX files read back: those that Finch writes, those of other exporters' habits, and garbage.
#include "trainer/onnx_import.hpp"

#include <gmock/gmock.h>
#include <onnx/defs/parser.h>

#include <random>

#include "search/cost_model.hpp"
#include "search/search_space.hpp"
#include "tests/search/sample_custom_space.hpp"
#include "tests/trainer/deployed_file.hpp"
#include "tests/trainer/sample_data.hpp"
#include "trainer/export.hpp"
#include "trainer/model_import.hpp"

namespace finch::trainer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

double difference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a - b).abs().max().item<double>() / std::max(1.0, a.abs().max().item<double>());
}

std::string exported(NetworkModule& module) {
  const std::vector<std::string> precisions = {"fp32"};
  auto models =
      export_models(module, {}, {}, {.space = {}, .genotype = {}, .campaign = {}, .class_names = {"cat", "dog"}},
                    precisions, [](double) {});
  EXPECT_TRUE(models) << models.error().message;
  return models->models.front().bytes;
}

TEST(OnnxImport, ReadsWhatFinchWroteOfEverySpace) {
  const std::vector<search::SpaceConfig> spaces = {{"mobilenet", {1, 28, 28}, 10},
                                                   {"shufflenet", {3, 32, 32}, 10},
                                                   {"nasbench201", {3, 32, 32}, 10},
                                                   {"mine", {3, 32, 32}, 7, search::sample_custom_space()}};
  const torch::NoGradGuard no_grad;
  for (const search::SpaceConfig& config : spaces) {
    const auto space = search::make_search_space(config);
    ASSERT_TRUE(space);
    std::mt19937_64 generator(11);
    for (int i = 0; i < 6; ++i) {
      const search::Genotype genotype = (*space)->random(generator);
      auto network = (*space)->decode(genotype);
      if (!network) continue;  // a cell that computes nothing
      SCOPED_TRACE(config.name + " " + search::to_string(genotype));
      const auto channels = static_cast<std::size_t>(config.image.channels);
      torch::manual_seed(i);
      NetworkModule module(std::move(*network), std::vector<float>(channels, 0.3F),
                           std::vector<float>(channels, 0.25F));
      disturb_statistics(module);
      module.eval();
      auto imported = import_onnx(exported(module), config.image);
      ASSERT_TRUE(imported) << imported.error().message;
      EXPECT_THAT(imported->class_names, ElementsAre("cat", "dog"));
      EXPECT_EQ(search::cost_of(imported->network).macs, search::cost_of(module.network()).macs);
      EXPECT_EQ(search::cost_of(imported->network).parameters, search::cost_of(module.network()).parameters);
      const auto back = module_of(std::move(*imported));
      const torch::Tensor images = torch::rand({3, config.image.channels, config.image.height, config.image.width});
      EXPECT_LE(difference(module.forward(images), back->forward(images)), 1e-5);
    }
  }
}

TEST(OnnxImport, BatchNormIsPutBackWithoutChangingTheOutputs) {
  const torch::NoGradGuard no_grad;
  const auto space = search::make_search_space({"mobilenet", {1, 28, 28}, 10}).value();
  torch::manual_seed(1);
  NetworkModule module(space->decode(space->largest()).value(), {0.3F}, {0.25F});
  disturb_statistics(module);
  module.eval();
  const ImageSplit images = random_images({1, 28, 28}, 60);
  auto trainable = with_batch_norm(module_of(import_onnx(exported(module), {1, 28, 28}).value()), images, 60);
  const auto lacks = [](const search::Node& node) {
    const auto* convolution = std::get_if<search::Convolution>(&node.operation);
    return convolution != nullptr && !convolution->batch_norm && node.shape.height > 1;
  };
  EXPECT_TRUE(std::ranges::none_of(trainable->network().nodes, lacks));
  const torch::Tensor batch = torch::rand({4, 1, 28, 28});
  EXPECT_LE(difference(module.forward(batch), trainable->forward(batch)), 1e-4);
}

// onnx's own notation, weights filled with noise.
std::string model(const std::string& text) {
  onnx::ModelProto proto;
  const std::string header = R"(<ir_version: 8, opset_import: ["" : 17]> )";
  const auto status = onnx::OnnxParser::Parse(proto, (header + text).c_str());
  EXPECT_TRUE(status.IsOK()) << status.ErrorMessage();
  return proto.SerializeAsString();
}

void add_weights(std::string& bytes, const std::map<std::string, std::vector<std::int64_t>>& weights) {
  onnx::ModelProto proto;
  ASSERT_TRUE(proto.ParseFromString(bytes));
  std::mt19937 generator(3);
  for (const auto& [name, dims] : weights) {
    onnx::TensorProto& tensor = *proto.mutable_graph()->add_initializer();
    tensor.set_name(name);
    tensor.set_data_type(onnx::TensorProto::FLOAT);
    std::int64_t elements = 1;
    for (const std::int64_t size : dims) {
      tensor.add_dims(size);
      elements *= size;
    }
    const bool variance = name.ends_with("var");
    std::normal_distribution<float> normal(variance ? 1.0F : 0.0F, variance ? 0.1F : 0.4F);
    for (std::int64_t i = 0; i < elements; ++i) tensor.add_float_data(normal(generator));
  }
  bytes = proto.SerializeAsString();
}

// What ONNX Runtime computes is what the imported network computes.
void expect_same(const std::string& bytes, const search::TensorShape& image, std::int64_t classes) {
  const torch::NoGradGuard no_grad;
  auto imported = import_onnx(bytes, image);
  ASSERT_TRUE(imported) << imported.error().message;
  torch::manual_seed(2);
  const torch::Tensor images = torch::rand({2, image.channels, image.height, image.width});
  EXPECT_LE(difference(run_file(bytes, images, classes), module_of(std::move(*imported))->forward(images)), 1e-5);
}

TEST(OnnxImport, ReadsWhatPyTorchWrites) {
  // Conv and BatchNormalization apart, a shuffle whose shape is computed, SiLU, squeeze-and-excitation by ReduceMean.
  std::string bytes = model(R"(g (float[N, 3, 8, 8] image) => (float[N, 5] y) {
    sub = Constant <value = float[1, 3, 1, 1] {0.4, 0.5, 0.6}> ()
    two = Constant <value = float[3, 1, 1] {0.2, 0.25, 0.3}> ()
    i0 = Sub (image, sub)
    i1 = Div (i0, two)
    c0 = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [1, 1, 1, 1]> (i1, stem_weight)
    b0 = BatchNormalization <epsilon = 0.001> (c0, stem_scale, stem_shift, stem_mean, stem_var)
    g0 = Sigmoid (b0)
    a0 = Mul (b0, g0)
    s0 = Shape (a0)
    n = Constant <value_int = 0> ()
    batch = Gather (s0, n)
    zero = Constant <value = int64[1] {0}> ()
    batch1 = Unsqueeze (batch, zero)
    split = Constant <value = int64[4] {2, 4, 4, 4}> ()
    joined = Constant <value = int64[3] {8, 4, 4}> ()
    to5 = Concat <axis = 0> (batch1, split)
    to4 = Concat <axis = 0> (batch1, joined)
    r0 = Reshape (a0, to5)
    r1 = Transpose <perm = [0, 2, 1, 3, 4]> (r0)
    r2 = Reshape (r1, to4)
    p0, p1 = Split <axis = 1> (r2)
    d0 = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 4> (p0, depthwise_weight, depthwise_bias)
    e0 = HardSwish (d0)
    e1 = Concat <axis = 1> (p1, e0)
    q0 = ReduceMean <axes = [2, 3], keepdims = 1> (e1)
    q1 = Conv (q0, squeeze_weight, squeeze_bias)
    q2 = HardSigmoid <alpha = 0.16666667, beta = 0.5> (q1)
    q3 = Mul (q2, e1)
    f0 = GlobalAveragePool (q3)
    f1 = Flatten (f0)
    f2 = MatMul (f1, hidden_weight)
    f3 = Add (hidden_bias, f2)
    f4 = Relu (f3)
    y = Gemm <transB = 1> (f4, fc_weight, fc_bias)
  })");
  add_weights(bytes, {{"stem_weight", {8, 3, 3, 3}},
                      {"stem_scale", {8}},
                      {"stem_shift", {8}},
                      {"stem_mean", {8}},
                      {"stem_var", {8}},
                      {"depthwise_weight", {4, 1, 3, 3}},
                      {"depthwise_bias", {4}},
                      {"squeeze_weight", {8, 8, 1, 1}},
                      {"squeeze_bias", {8}},
                      {"hidden_weight", {8, 6}},
                      {"hidden_bias", {6}},
                      {"fc_weight", {5, 6}},
                      {"fc_bias", {5}}});
  expect_same(bytes, {3, 8, 8}, 5);
  const auto imported = import_onnx(bytes, {3, 8, 8});
  EXPECT_NEAR(imported->normalization.mean[1], 0.5, 1e-6);
  EXPECT_NEAR(imported->normalization.stddev[2], 0.3, 1e-6);
}

TEST(OnnxImport, ReadsAFullyConnectedLayerOverAnImage) {
  std::string bytes = model(R"(g (float[N, 2, 4, 4] x) => (float[N, 3] y) {
    a = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (x)
    shape = Constant <value = int64[2] {-1, 8}> ()
    f = Reshape (a, shape)
    y = Gemm (f, w, b)
  })");
  add_weights(bytes, {{"w", {8, 3}}, {"b", {3}}});
  expect_same(bytes, {2, 4, 4}, 3);
}

TEST(OnnxImport, PutsANormalisationInFrontWhereItIsAskedFor) {
  std::string bytes = model(R"(g (float[N, 1, 4, 4] x) => (float[N, 3] y) {
    a = GlobalAveragePool (x)
    f = Flatten (a)
    z = Gemm (f, w, b)
    y = Softmax <axis = 1> (z)
  })");
  add_weights(bytes, {{"w", {1, 3}}, {"b", {3}}});
  auto imported = import_onnx(bytes, {1, 4, 4}, Normalization{{0.5F}, {0.1F}});
  ASSERT_TRUE(imported) << imported.error().message;
  EXPECT_THAT(imported->notes, ElementsAre(HasSubstr("Softmax 'y' at the end is left out")));
  const auto w = imported->tensors.at("z.weight"), b = imported->tensors.at("z.bias");
  const torch::NoGradGuard no_grad;
  const torch::Tensor logits = module_of(std::move(*imported))->forward(torch::full({1, 1, 4, 4}, 0.6F));
  EXPECT_NEAR(logits[0][1].item<float>(), w[1] + b[1], 1e-5);
}

std::string refusal(const std::string& text, const std::map<std::string, std::vector<std::int64_t>>& weights = {}) {
  std::string bytes = model(text);
  add_weights(bytes, weights);
  const auto imported = import_onnx(bytes, {3, 8, 8});
  return imported ? "" : imported.error().message;
}

TEST(OnnxImport, NamesWhatItCannotRead) {
  EXPECT_THAT(refusal(R"(g (float[N, 3, 8, 8] x) => (float[N, 3, 4, 4] y) {
    y = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x) })"),
              HasSubstr("MaxPool 'y' cannot be read"));
  EXPECT_THAT(refusal(R"(g (float[N, 3, 8, 8] x) => (float[N, 4, 8, 8] y) {
    y = Conv <kernel_shape = [1, 3], pads = [0, 1, 0, 1]> (x, w) })",
                      {{"w", {4, 3, 1, 3}}}),
              HasSubstr("kernel of 1 x 3 is not square"));
  EXPECT_THAT(refusal(R"(g (float[N, 3, 8, 8] x) => (float[N, 4, 6, 6] y) {
    y = Conv <kernel_shape = [3, 3], pads = [0, 0, 1, 1]> (x, w) })",
                      {{"w", {4, 3, 3, 3}}}),
              HasSubstr("padding differs"));
  EXPECT_THAT(refusal("g (float[N, 3, 8, 8] x, float[N, 3, 8, 8] z) => (float[N, 3, 8, 8] y) { y = Add (x, z) }"),
              HasSubstr("several inputs"));
  EXPECT_THAT(refusal("g (float[N, 3, 32, 32] x) => (float[N, 3, 1, 1] y) { y = GlobalAveragePool (x) }"),
              HasSubstr("takes 3 x 32 x 32 images, but the data has 3 x 8 x 8"));
  EXPECT_THAT(refusal(R"(g (float[N, 3, 8, 8] x) => (float[N, 3, 8, 8] y) {
    s = Constant <value = float {0.1}> ()
    z = Constant <value = uint8 {0}> ()
    q = QuantizeLinear (x, s, z)
    y = DequantizeLinear (q, s, z) })"),
              HasSubstr("before it was quantized"));
}

TEST(OnnxImport, GarbageIsAnErrorNeverACrash) {
  const auto space = search::make_search_space({"mine", {3, 32, 32}, 7, search::sample_custom_space()}).value();
  std::mt19937_64 choose(2);
  NetworkModule module(space->decode(space->random(choose)).value(), {0, 0, 0}, {1, 1, 1});
  const std::string whole = exported(module);
  std::mt19937 generator(4);
  for (int i = 0; i < 300; ++i) {
    std::string bytes = whole;
    for (int change = 0; change < 1 + i % 5; ++change)
      bytes[generator() % bytes.size()] = static_cast<char>(generator());
    if (i % 7 == 0) bytes.resize(generator() % bytes.size());
    (void)import_onnx(bytes, {3, 32, 32});
  }
  EXPECT_FALSE(import_onnx("", {3, 32, 32}));
}

}  // namespace
}  // namespace finch::trainer
