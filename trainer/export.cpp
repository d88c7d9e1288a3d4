#include "trainer/export.hpp"

#include <format>

#include "trainer/quantization_plan.hpp"

namespace finch::trainer {
std::expected<ExportedModels, Error> export_models(NetworkModule& module, const ImageSplit& calibration_set,
                                                   const CalibrationOptions& calibration, const OnnxMetadata& metadata,
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
      const auto ranges = calibrate(module, calibration_set, calibration, progress);
      const auto plan = plan_quantization(module.network(), ranges, {}, weights.mean, weights.stddev);
      if (!plan) return std::unexpected(plan.error());
      bytes = write_quantized_onnx(module.network(), weights, *plan, metadata, BatchDimension::dynamic);
    } else {
      return std::unexpected(unknown_precision(precision));
    }
    if (!bytes) return std::unexpected(bytes.error());
    exported.models.push_back({precision, std::move(*bytes)});
  }
  return exported;
}

std::expected<std::string, Error> export_int8(const search::Network& network, const QuantizedNetwork& quantized,
                                              OnnxMetadata metadata) {
  metadata.float_layers = quantized.report.float_layers;
  return write_quantized_onnx(network, quantized.weights, quantized.plan, metadata, BatchDimension::dynamic);
}

Error unknown_precision(const std::string& precision) {
  return {std::format("unknown precision '{}'; known: fp32, int8", precision)};
}

}  // namespace finch::trainer
