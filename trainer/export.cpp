#include "trainer/export.hpp"

#include <format>
#include <set>

#include "trainer/channel_padding.hpp"
#include "trainer/normalization_folding.hpp"
#include "trainer/quantization_plan.hpp"
#include "trainer/tflite_writer.hpp"

namespace finch::trainer {
namespace {

Error unknown_format(std::string_view format) {
  return {std::format("unknown format '{}'; known: onnx, tflite", format)};
}

}  // namespace

std::expected<ExportedModels, Error> export_models(NetworkModule& module, const ImageSplit& calibration_set,
                                                   const CalibrationOptions& calibration, const OnnxMetadata& metadata,
                                                   std::span<const std::string> precisions,
                                                   const std::function<void(double fraction)>& progress,
                                                   std::string_view format) {
  module.eval();
  NetworkWeights weights = module.fold();
  ExportedModels exported;
  exported.flushed_weights = flush_denormals(weights);
  for (const std::string& precision : precisions) {
    std::expected<std::string, Error> bytes;
    if (precision == "fp32") {
      bytes = export_fp32(module.network(), weights, metadata, format);
    } else if (precision == "int8") {
      auto ranges = calibrate(module, calibration_set, calibration, progress);
      auto plan = plan_quantization(module.network(), ranges, layers_of_image(module.network()));
      if (!plan) return std::unexpected(plan.error());
      bytes = export_int8(module.network(),
                          {.weights = weights, .plan = std::move(*plan), .ranges = std::move(ranges), .report = {}},
                          metadata, format);
    } else {
      return std::unexpected(unknown_precision(precision));
    }
    if (!bytes) return std::unexpected(bytes.error());
    exported.models.push_back({precision, std::move(*bytes)});
  }
  return exported;
}

std::expected<std::string, Error> export_fp32(const search::Network& network, const NetworkWeights& weights,
                                              const OnnxMetadata& metadata, std::string_view format) {
  if (format == kOnnx) return write_onnx(network, fold_stddev(network, weights), metadata, BatchDimension::dynamic);
  if (format == kTflite) return write_tflite(network, weights, metadata, BatchDimension::dynamic);
  return std::unexpected(unknown_format(format));
}

std::expected<std::string, Error> export_int8(const search::Network& network, const QuantizedNetwork& quantized,
                                              OnnxMetadata metadata, std::string_view format) {
  std::set<std::int32_t> float_layers;
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    if (!is_layer(network.nodes[i]) || !quantized.plan.nodes[i].floating) continue;
    float_layers.insert(static_cast<std::int32_t>(i));
    metadata.float_layers.push_back(network.nodes[i].name);
  }
  if (format == kOnnx) {
    const auto padded = pad_depthwise_channels(network, fold_stddev(network, quantized.weights));
    if (!padded) return std::unexpected(padded.error());
    return write_quantized_onnx(padded->network, padded->weights, quantized.plan, metadata, BatchDimension::dynamic);
  }
  if (format != kTflite) return std::unexpected(unknown_format(format));
  return write_quantized_tflite(network, quantized.weights, quantized.ranges, float_layers, metadata,
                                BatchDimension::dynamic);
}

Error unknown_precision(const std::string& precision) {
  return {std::format("unknown precision '{}'; known: fp32, int8", precision)};
}

}  // namespace finch::trainer
