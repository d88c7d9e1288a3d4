// Quantizes a trained module to int8: calibrates, trains on with fake quantization where that loses too much, and
// leaves the most sensitive layers in fp32 where that is still not enough. Not thread safe; kernels use LibTorch's
// threads.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <vector>

#include "trainer/calibration.hpp"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/network_module.hpp"
#include "trainer/network_weights.hpp"
#include "trainer/quantization_plan.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {

struct QuantizeOptions {
  CalibrationOptions calibration;
  double allowed_drop = 0.005;         // of top-1 on the validation split, 0..1; beyond it more is done
  std::optional<TrainingOptions> qat;  // how to train with fake quantization; nothing: not at all
  bool mixed_precision = true;         // whether layers may stay fp32
};

// Top-1, 0..1, on the validation split where nothing else is said. "All layers": but for those of the image.
struct QuantizationReport {
  double fp32_top1 = 0;
  double ptq_top1 = 0;                    // calibrated only, all layers int8
  std::optional<double> qat_top1;         // trained with fake quantization, all layers int8; nothing: not done
  double int8_top1 = 0;                   // of the result
  bool trained = false;                   // the result's weights are those of the training with fake quantization
  std::optional<double> test_top1;        // of the result on the test split; nothing: there is none
  std::vector<std::string> float_layers;  // that stay fp32 in the result for its accuracy, the most sensitive first
  std::int64_t layers = 0;                // convolutions and linear layers, but for those that read the image
  std::int64_t image_layers = 0;          // layers_of_image(), which stay fp32
};

// What write_quantized_onnx() and write_quantized_tflite() take.
struct QuantizedNetwork {
  NetworkWeights weights;
  QuantizationPlan plan;
  std::vector<ActivationRange> ranges;  // that the plan was made from
  QuantizationReport report;
};

// The module's weights stay as they are; it is put into evaluation mode. `soft_targets`: of Training, may be undefined.
// Errors: those of plan_quantization(). REQUIRES: dataset.validation is not empty.
std::expected<QuantizedNetwork, Error> quantize(NetworkModule& module, const Dataset& dataset,
                                                const torch::Tensor& soft_targets, const QuantizeOptions& options,
                                                const ProgressReport& progress);

}  // namespace finch::trainer
