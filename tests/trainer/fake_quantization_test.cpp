#include "trainer/fake_quantization.hpp"

#include <gtest/gtest.h>

#include <random>

#include "search/search_space.hpp"
#include "tests/search/sample_custom_space.hpp"
#include "tests/trainer/deployed_file.hpp"
#include "tests/trainer/sample_data.hpp"
#include "trainer/calibration.hpp"
#include "trainer/onnx_writer.hpp"
#include "trainer/sensitivity.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {
namespace {

constexpr search::TensorShape kSampleImage{1, kSampleSize, kSampleSize};

Saturation plain(float scale, std::uint8_t zero_point) {
  return {{scale, zero_point}, {scale, zero_point}};
}

TEST(FakeQuantize, RoundsAndClips) {
  const torch::Tensor x = torch::tensor({-10.0F, -0.26F, -0.24F, 0.0F, 0.9F, 500.0F});
  const torch::Tensor expected = torch::tensor({-5.0F, -0.5F, 0.0F, 0.0F, 1.0F, 122.5F});
  EXPECT_TRUE(torch::allclose(fake_quantize(x, plain(0.5F, 10)), expected));
}

TEST(FakeQuantize, GradientsPassInsideOfTheRangeAndEndOutside) {
  torch::Tensor x = torch::tensor({-10.0F, -4.9F, 0.3F, 122.0F, 130.0F}).requires_grad_();
  (fake_quantize(x, plain(0.5F, 10)) * torch::tensor({1.0F, 2.0F, 3.0F, 4.0F, 5.0F})).sum().backward();
  EXPECT_TRUE(torch::equal(x.grad(), torch::tensor({0.0F, 2.0F, 3.0F, 4.0F, 0.0F})));
}

// Written over [-3, 3], read as [0, 1]: the slope of the hard sigmoid within, none outside.
TEST(FakeQuantize, AGateHasTheHardSigmoidsGradient) {
  torch::Tensor x = torch::tensor({-4.0F, -1.0F, 2.0F, 4.0F}).requires_grad_();
  const torch::Tensor gate = fake_quantize(x, *saturation(search::ActivationKind::hard_sigmoid, {}));
  EXPECT_TRUE(torch::allclose(gate, torch::hardsigmoid(x), 0, 0.004));
  gate.sum().backward();
  EXPECT_TRUE(torch::allclose(x.grad(), torch::tensor({0.0F, 1.0F / 6, 1.0F / 6, 0.0F}), 1e-3, 1e-3));
}

TEST(FakeQuantize, RoundsALayerAsItsFileHasIt) {
  torch::manual_seed(3);
  torch::Tensor weight = torch::randn({6, 4, 3, 3}).mul_(torch::logspace(-4, 1, 6).view({6, 1, 1, 1})).requires_grad_();
  torch::Tensor bias = torch::randn({6}).requires_grad_();
  const NetworkModule::Filter fake = fake_quantize(NetworkModule::Filter{weight, bias}, 0.02F);
  const auto vector = [](const torch::Tensor& tensor) {
    return std::vector<float>(tensor.const_data_ptr<float>(), tensor.const_data_ptr<float>() + tensor.numel());
  };
  const QuantizedLayer file = quantize_layer({vector(weight), vector(bias)}, 0.02F);
  for (std::int64_t c = 0; c < 6; ++c) {
    const auto channel = static_cast<std::size_t>(c);
    for (std::int64_t i = 0; i < 36; ++i) {
      EXPECT_FLOAT_EQ(fake.weight[c].flatten()[i].item<float>(),
                      file.weight_scale[channel] * file.weight[channel * 36 + static_cast<std::size_t>(i)]);
    }
    EXPECT_NEAR(fake.bias[c].item<float>(), file.bias_scale[channel] * static_cast<float>(file.bias[channel]), 1e-5);
  }
  (fake.weight.sum() + fake.bias.sum()).backward();
  EXPECT_TRUE(torch::equal(weight.grad(), torch::ones_like(weight)));
  EXPECT_TRUE(torch::allclose(bias.grad(), torch::ones_like(bias)));
}

class FakeQuantizationTest : public testing::Test {
 protected:
  static NetworkModule trained(const search::SpaceConfig& config, search::Genotype genotype, const Dataset& data) {
    const auto space = search::make_search_space(config).value();
    if (genotype.empty()) genotype = space->smallest();
    torch::manual_seed(1);
    NetworkModule module(space->decode(genotype).value(), data.mean, data.stddev);
    TrainingOptions options;
    options.epochs = 6;
    options.batch_size = 16;
    Training training(module, data.train, {}, options);
    EXPECT_TRUE(run(training, [](double) {}));
    module.eval();
    return module;
  }
  static std::set<std::int32_t> layers_of(const NetworkModule& module, int every) {
    std::set<std::int32_t> layers;
    int count = 0;
    for (std::size_t i = 0; i < module.network().nodes.size(); ++i) {
      if (is_layer(module.network().nodes[i]) && count++ % every == 0) layers.insert(static_cast<std::int32_t>(i));
    }
    return layers;
  }
  // The file's logits and the module's, of the test images. Integer kernels and floats may round a value that lies
  // between two integers differently, one step of 255: the logits agree within 3 % of their range in the worst, and
  // within 0.6 % in the mean.
  static void expect_agreement(NetworkModule& module, const Dataset& data, const std::set<std::int32_t>& float_layers) {
    const torch::NoGradGuard no_grad;
    const auto ranges = calibrate(module, data.train, {});
    const auto plan = plan_quantization(module.network(), ranges, float_layers);
    ASSERT_TRUE(plan) << plan.error().message;
    const auto file = write_quantized_onnx(module.network(), module.fold(), *plan, {}, BatchDimension::dynamic);
    ASSERT_TRUE(file) << file.error().message;
    const torch::Tensor images = plain_images(data.test, 0, data.test.size());
    const torch::Tensor fake = FakeQuantization(module, *plan).forward(images).flatten(1);
    const torch::Tensor real = run_file(*file, images, kSampleClasses);
    const double range = (fake.max() - fake.min()).item<double>();
    const torch::Tensor difference = (fake - real).abs() / range;
    EXPECT_LE(difference.max().item<double>(), 0.03);
    EXPECT_LE(difference.mean().item<double>(), 0.006);
  }

  const Dataset data_ = sample_dataset();
};

TEST_F(FakeQuantizationTest, ComputesWhatTheFileComputes) {
  NetworkModule module = trained({"mobilenet", kSampleImage, kSampleClasses}, {}, data_);
  expect_agreement(module, data_, {});
}
TEST_F(FakeQuantizationTest, ComputesWhatTheFileComputesWithFloatLayers) {
  NetworkModule module = trained({"mobilenet", kSampleImage, kSampleClasses}, {}, data_);
  expect_agreement(module, data_, layers_of(module, 2));
  expect_agreement(module, data_, layers_of(module, 1));
}
TEST_F(FakeQuantizationTest, ComputesWhatTheFileComputesInTheShufflenetSpace) {
  NetworkModule module = trained({"shufflenet", kSampleImage, kSampleClasses},
                                 {2, 1, 1, 0, 1, 3, 1, 1, 1, 1, 0, 1, 0, 0, 1, 3, 0, 0, 1, 0, 0}, data_);
  expect_agreement(module, data_, {});
  expect_agreement(module, data_, layers_of(module, 3));
}
TEST_F(FakeQuantizationTest, ComputesWhatTheFileComputesInTheNasbench201Space) {
  NetworkModule module = trained({"nasbench201", kSampleImage, kSampleClasses}, {3, 4, 1, 1, 2, 3}, data_);
  expect_agreement(module, data_, {});
}
TEST_F(FakeQuantizationTest, ComputesWhatTheFileComputesInASpaceOfTheUsersOwn) {
  NetworkModule module = trained({"mine", kSampleImage, kSampleClasses, search::sample_custom_space()}, {}, data_);
  expect_agreement(module, data_, {});
}

// An image is quantized like any other value where something else than a layer in floats reads it.
TEST_F(FakeQuantizationTest, ComputesWhatTheFileComputesWhereNoLayerReadsTheImage) {
  for (const search::Operation& first : {search::Operation(search::AveragePool{.kernel_size = 2, .stride = 2}),
                                         search::Operation(search::Activation{search::ActivationKind::relu})}) {
    SCOPED_TRACE(search::operation_name(first));
    search::NetworkBuilder builder(kSampleImage);
    std::int32_t x = builder.add("normalize", search::Normalize{}, {0});
    x = builder.add("resize", search::Resize{.height = 20, .width = 20}, {x});
    x = builder.add("first", first, {x});
    x = builder.add("conv", search::Convolution{.out_channels = 16, .kernel_size = 3}, {x});
    x = builder.add("pool", search::GlobalAveragePool{}, {x});
    builder.add("classifier", search::Linear{.out_features = kSampleClasses}, {x});
    torch::manual_seed(2);
    NetworkModule module(builder.finish().value(), data_.mean, data_.stddev);
    module.eval();
    EXPECT_TRUE(layers_of_image(module.network()).empty());
    expect_agreement(module, data_, {});
  }
}

// Every layer that is to be int8 has an integer kernel, and every other a float one.
void expect_kernels(const NetworkModule& module, const std::string& file, const std::set<std::int32_t>& float_layers) {
  std::ptrdiff_t integer = 0, floating = 0;
  for (const auto& [node, operation] : kernels_of(file)) {
    integer += operation == "QLinearConv" || operation == "QGemm";
    floating += operation == "Conv" || operation == "FusedConv" || operation == "Gemm" || operation == "FusedGemm";
  }
  EXPECT_EQ(floating, std::ssize(float_layers));
  EXPECT_EQ(integer, std::ranges::count_if(module.network().nodes, is_layer) - std::ssize(float_layers));
}

TEST_F(FakeQuantizationTest, TheRuntimeHasIntegerKernelsForAllLayersThatAreToBeInt8) {
  for (const char* name : {"mobilenet", "shufflenet", "nasbench201"}) {
    SCOPED_TRACE(name);
    const auto space = search::make_search_space({name, kSampleImage, kSampleClasses}).value();
    std::mt19937_64 generator(5);
    search::Genotype genotype = space->random(generator);
    while (!space->decode(genotype)) genotype = space->random(generator);
    NetworkModule module(space->decode(genotype).value(), data_.mean, data_.stddev);
    const auto ranges = calibrate(module, data_.train, {.images = 32});
    for (const auto& float_layers : {std::set<std::int32_t>{}, layers_of(module, 3)}) {
      const auto plan = plan_quantization(module.network(), ranges, float_layers);
      ASSERT_TRUE(plan) << plan.error().message;
      const auto file = write_quantized_onnx(module.network(), module.fold(), *plan, {}, BatchDimension::dynamic);
      ASSERT_TRUE(file) << file.error().message;
      expect_kernels(module, *file, float_layers);
    }
  }
}

TEST_F(FakeQuantizationTest, TheLayerWithSkewedChannelsIsTheMostSensitive) {
  NetworkModule module = trained({"mobilenet", kSampleImage, kSampleClasses}, {}, data_);
  const torch::Tensor images = plain_images(data_.train, 0, 64);
  std::string skewed;
  {
    // One channel of the head a thousand times as large as all others, and read by nobody: one step of eight bits is
    // then more than what the others hold.
    const torch::NoGradGuard no_grad;
    for (const search::Node& node : module.network().nodes) {
      if (std::holds_alternative<search::Convolution>(node.operation)) skewed = node.name;
    }
    module.state().at(skewed + ".shift").detach()[0] = 1000;
    module.state().at("classifier.weight").detach().select(1, 0).zero_();
  }
  const auto ranges = calibrate(module, data_.train, {.method = Calibration::minmax});
  const auto sensitivities = layer_sensitivities(module, ranges, images);
  ASSERT_TRUE(sensitivities) << sensitivities.error().message;
  const std::string most = module.network().nodes[static_cast<std::size_t>(sensitivities->front().node)].name;
  EXPECT_TRUE(most == skewed || most == "classifier") << most;
  EXPECT_GT(sensitivities->front().divergence, 10 * sensitivities->back().divergence);
}

}  // namespace
}  // namespace finch::trainer
