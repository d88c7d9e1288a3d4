#include "trainer/quantize.hpp"

#include <algorithm>
#include <memory>
#include <set>

#include "trainer/evaluation.hpp"
#include "trainer/fake_quantization.hpp"
#include "trainer/onnx_writer.hpp"
#include "trainer/sensitivity.hpp"

namespace finch::trainer {
namespace {

constexpr std::int64_t kSensitivityImages = 256;
// With more layers in fp32 than this share there is no int8 file left that is worth its name.
constexpr std::int64_t kFewestIntegerLayers = 2;  // one in so many

class Quantizer {
 public:
  Quantizer(NetworkModule& module, const Dataset& dataset, const QuantizeOptions& options)
      : module_(module), dataset_(dataset), options_(options) {}

  std::expected<QuantizedNetwork, Error> run(const torch::Tensor& soft_targets, const ProgressReport& progress) {
    const auto part = [&](double begin, double end) {
      return [&progress, begin, end](double fraction) { progress(begin + fraction * (end - begin)); };
    };
    module_.eval();
    QuantizationReport& report = result_.report;
    report.fp32_top1 = top1([&](const torch::Tensor& images) { return module_.forward(images); }, dataset_.validation);
    ranges_ = calibrate(module_, dataset_.train, options_.calibration, part(0, 0.1));
    if (auto good = take(module_, {}); !good) return std::unexpected(good.error());
    report.ptq_top1 = report.int8_top1;
    if (!enough() && options_.qat) {
      if (auto good = train(soft_targets, part(0.1, 0.8)); !good) return std::unexpected(good.error());
    }
    if (!enough() && options_.mixed_precision) {
      if (auto good = keep_sensitive_layers(part(0.8, 1)); !good) return std::unexpected(good.error());
    }
    if (dataset_.test.size() > 0) {
      const FakeQuantization fake(*better_, result_.plan);
      report.test_top1 = top1([&](const torch::Tensor& images) { return fake.forward(images); }, dataset_.test);
    }
    result_.ranges = std::move(ranges_);
    progress(1);
    return std::move(result_);
  }

 private:
  bool enough() const { return result_.report.fp32_top1 - result_.report.int8_top1 <= options_.allowed_drop; }

  // Makes the module so quantized the result if it is better than the one so far.
  std::expected<double, Error> take(const NetworkModule& module, std::set<std::int32_t> float_layers) {
    float_layers.merge(layers_of_image(module.network()));
    auto plan = plan_quantization(module.network(), ranges_, float_layers);
    if (!plan) return std::unexpected(plan.error());
    const FakeQuantization fake(module, *plan);
    const double accuracy =
        top1([&](const torch::Tensor& images) { return fake.forward(images); }, dataset_.validation);
    if (result_.plan.nodes.empty() || accuracy > result_.report.int8_top1) {
      result_.plan = std::move(*plan);
      result_.weights = module.fold();
      flush_denormals(result_.weights);
      result_.report.int8_top1 = accuracy;
      result_.report.trained = &module != &module_;
      better_ = &module;
    }
    return accuracy;
  }

  std::expected<void, Error> train(const torch::Tensor& soft_targets, const ProgressReport& progress) {
    trained_ = copy_of(module_);
    const FakeQuantization fake(*trained_, result_.plan);
    trained_->replace_forward([&](const torch::Tensor& images) { return fake.forward(images); });
    Training training(*trained_, dataset_.train, soft_targets, *options_.qat);
    if (const auto ran = finch::trainer::run(training, progress); !ran) return std::unexpected(ran.error());
    trained_->replace_forward({});
    trained_->move_to(module_.device());
    trained_->eval();
    const auto accuracy = take(*trained_, {});
    if (!accuracy) return std::unexpected(accuracy.error());
    result_.report.qat_top1 = *accuracy;
    return {};
  }

  // One after another, the most sensitive first, until the loss is small enough.
  std::expected<void, Error> keep_sensitive_layers(const ProgressReport& progress) {
    NetworkModule& module = better_ == trained_.get() ? *trained_ : module_;
    const torch::Tensor images = draw_images(dataset_.train, kSensitivityImages, options_.calibration.seed + 1);
    const auto sensitivities = layer_sensitivities(module, ranges_, images, progress);
    if (!sensitivities) return std::unexpected(sensitivities.error());
    std::set<std::int32_t> float_layers;
    std::vector<std::string> names;
    for (const LayerSensitivity& layer : *sensitivities) {
      if (enough() || std::ssize(names) >= std::ssize(*sensitivities) / kFewestIntegerLayers) break;
      float_layers.insert(layer.node);
      names.push_back(module.network().nodes[static_cast<std::size_t>(layer.node)].name);
      const double before = result_.report.int8_top1;
      if (auto taken = take(module, float_layers); !taken) return std::unexpected(taken.error());
      if (result_.report.int8_top1 > before) result_.report.float_layers = names;
    }
    return {};
  }

  NetworkModule& module_;
  const Dataset& dataset_;
  const QuantizeOptions& options_;
  std::vector<ActivationRange> ranges_;
  std::unique_ptr<NetworkModule> trained_;
  const NetworkModule* better_ = nullptr;  // whose weights the result has
  QuantizedNetwork result_;
};

}  // namespace

std::expected<QuantizedNetwork, Error> quantize(NetworkModule& module, const Dataset& dataset,
                                                const torch::Tensor& soft_targets, const QuantizeOptions& options,
                                                const ProgressReport& progress) {
  auto quantized = Quantizer(module, dataset, options).run(soft_targets, progress);
  if (!quantized) return quantized;
  quantized->report.image_layers = std::ssize(layers_of_image(module.network()));
  quantized->report.layers = std::ranges::count_if(module.network().nodes, is_layer) - quantized->report.image_layers;
  return quantized;
}

}  // namespace finch::trainer
