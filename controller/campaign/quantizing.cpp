#include "controller/campaign/quantizing.hpp"

#include <format>

namespace finch::controller {
namespace {

std::string listed(const auto& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

protocol::Quantize quantize_spec(const QuantizeConfig& quantize) {
  protocol::Quantize spec;
  spec.set_calibration(quantize.calibration);
  spec.set_calibration_images(static_cast<int>(quantize.calibration_images));
  spec.set_qat_drop(quantize.qat_drop);
  spec.set_qat_epochs(quantize.qat_epochs);
  spec.set_mixed_precision(quantize.mixed_precision);
  return spec;
}

std::vector<std::string> quantization_notes(const protocol::QuantizationReport& report,
                                            const protocol::Evaluation& evaluation) {
  std::vector<std::string> notes;
  if (report.has_qat_top1()) {
    notes.push_back(
        std::format("int8 {} quantization-aware training: {:.2f} % with it, {:.2f} % calibrated only, {:.2f} % "
                    "in fp32 (validation)",
                    report.trained() ? "is the better for" : "does not gain by", 100 * report.qat_top1(),
                    100 * report.ptq_top1(), 100 * report.fp32_top1()));
  }
  if (report.float_layers_size() > 0) {
    notes.push_back(std::format("int8 keeps {} of {} layers in fp32 ({:.2f} % validation): {}",
                                report.float_layers_size(), report.layers(), 100 * report.int8_top1(),
                                listed(report.float_layers())));
  }
  if (const auto meant = report.float_layers_size() + report.image_layers(); evaluation.float_layers_size() > meant) {
    notes.push_back(
        std::format("int8: the runtime has kernels for floats in {} layers, though {} were to stay fp32: {}",
                    evaluation.float_layers_size(), meant, listed(evaluation.float_layers())));
  }
  return notes;
}

}  // namespace finch::controller
