// A module as the files that are deployed: fp32 and int8, as ONNX and as TensorFlow Lite. Not thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/calibration.hpp"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/network_module.hpp"
#include "trainer/onnx_writer.hpp"
#include "trainer/quantize.hpp"

namespace finch::trainer {

struct ExportedModel {
  std::string precision;
  std::string bytes;
};

struct ExportedModels {
  std::vector<ExportedModel> models;
  std::int64_t flushed_weights = 0;  // denormals set to zero
};

// "onnx", "tflite".
inline constexpr std::string_view kOnnx = "onnx", kTflite = "tflite";

// `precisions`: "fp32", "int8"; int8 is calibrated on images of the set. The batch dimension is dynamic. Sets the
// module to evaluation mode. Errors: an unknown precision or format, what the writer says.
std::expected<ExportedModels, Error> export_models(NetworkModule& module, const ImageSplit& calibration_set,
                                                   const CalibrationOptions& calibration, const OnnxMetadata& metadata,
                                                   std::span<const std::string> precisions,
                                                   const std::function<void(double fraction)>& progress,
                                                   std::string_view format = kOnnx);

std::expected<std::string, Error> export_fp32(const search::Network& network, const NetworkWeights& weights,
                                              const OnnxMetadata& metadata, std::string_view format);
// The names of the layers that stay fp32 become part of the metadata. REQUIRES: layers_of_image() are among them.
std::expected<std::string, Error> export_int8(const search::Network& network, const QuantizedNetwork& quantized,
                                              OnnxMetadata metadata, std::string_view format);

Error unknown_precision(const std::string& precision);

}  // namespace finch::trainer
