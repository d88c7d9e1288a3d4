#include "trainer/export.hpp"

#include <algorithm>
#include <format>

#include "trainer/batch_source.hpp"

namespace finch::trainer {
namespace {

constexpr std::int64_t kCalibrationImages = 512;
constexpr std::int64_t kBatch = 32;

std::vector<ActivationRange> calibrate(NetworkModule& module, const ImageSplit& images,
                                       const std::function<void(double fraction)>& progress) {
  const torch::NoGradGuard no_grad;
  RangeObserver observer(module.network().nodes.size());
  const std::int64_t count = std::min(kCalibrationImages, images.size());
  for (std::int64_t first = 0; first < count; first += kBatch) {
    module.forward(plain_images(images, first, std::min(kBatch, count - first)),
                   [&](std::int32_t node, const torch::Tensor& output) {
                     const torch::Tensor values = output.contiguous();
                     observer.observe(node, {values.data_ptr<float>(), static_cast<std::size_t>(values.numel())});
                   });
    progress(static_cast<double>(first) / static_cast<double>(count));
  }
  return observer.ranges();
}

}  // namespace

std::expected<ExportedModels, Error> export_models(NetworkModule& module, const ImageSplit& calibration_set,
                                                   const OnnxMetadata& metadata,
                                                   std::span<const std::string> precisions,
                                                   const std::function<void(double fraction)>& progress) {
  module.eval();
  NetworkWeights weights = module.fold();
  ExportedModels exported;
  exported.flushed_weights = flush_denormals(weights);
  for (const std::string& precision : precisions) {
    std::expected<std::string, Error> bytes;
    if (precision == "fp32") {
      bytes = write_onnx(module.network(), weights, metadata, BatchDimension::dynamic);
    } else if (precision == "int8") {
      const std::vector<ActivationRange> ranges = calibrate(module, calibration_set, progress);
      bytes = write_quantized_onnx(module.network(), weights, ranges, metadata, BatchDimension::dynamic);
    } else {
      return std::unexpected(Error{std::format("unknown precision '{}'; known: fp32, int8", precision)});
    }
    if (!bytes) return std::unexpected(bytes.error());
    exported.models.push_back({precision, std::move(*bytes)});
  }
  return exported;
}

}  // namespace finch::trainer
