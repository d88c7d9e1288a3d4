#include "trainer/onnx_import.hpp"

#include <algorithm>
#include <cmath>
#include <format>
#include <nlohmann/json.hpp>

#include "trainer/onnx_importer.hpp"

namespace finch::trainer {
namespace {

namespace ir = finch::search;

std::string text(const ir::TensorShape& shape) {
  return std::format("{} x {} x {}", shape.channels, shape.height, shape.width);
}

}  // namespace

std::expected<ImportedNetwork, Error> import_onnx(std::string_view bytes, const ir::TensorShape& image,
                                                  const std::optional<Normalization>& normalization) {
  auto reading = OnnxReading::read(bytes);
  if (!reading) return std::unexpected(reading.error());
  const auto agrees = [](std::int64_t fixed, std::int64_t wanted) { return fixed == 0 || fixed == wanted; };
  const ir::TensorShape& fixed = reading->image();
  if (!agrees(fixed.channels, image.channels) || !agrees(fixed.height, image.height) ||
      !agrees(fixed.width, image.width)) {
    return std::unexpected(
        Error{std::format("the model takes {} images, but the data has {}", text(fixed), text(image))});
  }
  return OnnxImporter(*reading, image).run(normalization);
}

std::expected<ImportedNetwork, Error> OnnxImporter::run(const std::optional<Normalization>& normalization) {
  const auto channels = static_cast<std::size_t>(builder_.shape(0).channels);
  imported_.normalization = {std::vector<float>(channels, 0), std::vector<float>(channels, 1)};
  values_[reading_.input()] = Image{};
  imported_.input = reading_.input();
  if (normalization) {
    if (normalization->mean.size() != channels || normalization->stddev.size() != channels)
      return std::unexpected(
          Error{std::format("the normalisation must have one value for each of {} channels", channels)});
    Image image;
    for (std::size_t c = 0; c < channels; ++c) {
      image.factor.push_back(1 / normalization->stddev[c]);
      image.offset.push_back(-normalization->mean[c] / normalization->stddev[c]);
    }
    values_[reading_.input()] = std::move(image);
  }
  for (const onnx::NodeProto* node : reading_.nodes()) {
    if (absorbed_.contains(node) || fold_constant(*node)) continue;
    if (auto converted = convert(*node); !converted) return std::unexpected(converted.error());
  }
  const auto output = values_.find(reading_.output());
  if (output == values_.end() || !std::holds_alternative<Tensor>(output->second))
    return std::unexpected(Error{std::format("the output '{}' is not computed from the image", reading_.output())});
  auto network = builder_.finish();
  if (!network) return std::unexpected(Error{network.error().message});
  imported_.network = std::move(*network);
  const auto names = reading_.metadata();
  if (const auto found = names.find("class_names"); found != names.end()) {
    const auto parsed = nlohmann::json::parse(found->second, nullptr, false);
    for (const auto& name : parsed.is_array() ? parsed : nlohmann::json::array())
      if (name.is_string()) imported_.class_names.push_back(name.get<std::string>());
  }
  return std::move(imported_);
}

OnnxImporter::Step OnnxImporter::convert(const onnx::NodeProto& node) {
  const std::string& type = node.op_type();
  if (type == "Conv") return convolution(node);
  if (type == "Gemm" || type == "MatMul") return fully_connected(node);
  if (type == "Relu" || type == "Clip" || type == "HardSwish") return activation(node);
  if (type == "Sigmoid") return gated(node, ir::ActivationKind::sigmoid, ir::ActivationKind::silu);
  if (type == "HardSigmoid") {
    const bool usual = std::abs(float_attribute(node, "alpha", 0.2F) - 1.0F / 6) < 1e-4F &&
                       float_attribute(node, "beta", 0.5F) == 0.5F;
    if (!usual) return refuse(node, "only alpha = 1/6, beta = 0.5 can be read");
    return gated(node, ir::ActivationKind::hard_sigmoid, ir::ActivationKind::hard_swish);
  }
  if (type == "Add" || type == "Sub" || type == "Mul" || type == "Div") return arithmetic(node);
  if (type == "Concat") return concat(node);
  if (type == "Split") return split(node);
  if (type == "Slice") return slice(node);
  if (type == "AveragePool") return average_pool(node);
  if (type == "GlobalAveragePool" || type == "ReduceMean") return mean(node);
  if (type == "Flatten" || type == "Reshape" || type == "Squeeze" || type == "Unsqueeze") return reshape(node);
  if (type == "Transpose") return transpose(node);
  if (type == "Resize") return resize(node);
  if (type == "Identity" || type == "Dropout" || type == "Softmax" || type == "LogSoftmax") return pass_on(node);
  if (type == "Constant") return {};  // of a type that no operator here reads
  if (type.contains("Quantize")) return refuse(node, "give the float32 model as it was before it was quantized");
  return refuse(node, "Finch's networks have no such operator");
}

std::unexpected<Error> OnnxImporter::refuse(const onnx::NodeProto& node, const std::string& why) const {
  return std::unexpected(Error{std::format("{} cannot be read: {}", node_text(node), why)});
}

std::string OnnxImporter::name_of(const onnx::NodeProto& node, int weight_input) {
  std::string name = node.name();
  constexpr std::string_view kSuffix = ".weight";
  if (weight_input >= 0 && node.input(weight_input).ends_with(kSuffix)) {
    name = node.input(weight_input);
    name.resize(name.size() - kSuffix.size());
  }
  if (name.empty()) name = node.output(0);
  std::ranges::replace(name, '/', '.');
  name.erase(0, name.find_first_not_of('.'));
  if (name.empty()) name = "node";
  std::string unique = name;
  for (int i = 2; !names_.insert(unique).second; ++i) unique = std::format("{}_{}", name, i);
  return unique;
}

std::int32_t OnnxImporter::add(const std::string& name, ir::Operation operation, std::vector<std::int32_t> inputs) {
  return builder_.add(name, std::move(operation), std::move(inputs));
}

OnnxImporter::Read OnnxImporter::read(const onnx::NodeProto& node, int input) {
  const std::string edge = input < node.input_size() ? node.input(input) : "";
  const auto found = values_.find(edge);
  if (found == values_.end()) return refuse(node, std::format("its input '{}' is not computed from the image", edge));
  if (const auto* tensor = std::get_if<Tensor>(&found->second)) return *tensor;
  const auto* image = std::get_if<Image>(&found->second);
  if (image == nullptr) return refuse(node, "it lies within a channel shuffle");
  if (image->factor.empty()) return Tensor{0};
  Normalization& to = imported_.normalization;
  for (std::size_t c = 0; c < image->factor.size(); ++c) {
    if (!(image->factor[c] > 0)) return refuse(node, "the images are scaled by zero or less before it");
    to.stddev[c] = 1 / image->factor[c];
    to.mean[c] = -image->offset[c] / image->factor[c];
  }
  if (!names_.insert("normalize").second) return refuse(node, "the image is normalised in two ways");
  const Tensor normalized{add("normalize", ir::Normalize{}, {0})};
  values_[edge] = normalized;
  return normalized;
}

OnnxImporter::Read OnnxImporter::read_maps(const onnx::NodeProto& node, int input) {
  auto tensor = read(node, input);
  if (tensor && tensor->flat && builder_.shape(tensor->node).elements() != builder_.shape(tensor->node).channels)
    return refuse(node, "it reads a flattened image");
  return tensor;
}

std::expected<const OnnxConstant*, Error> OnnxImporter::read_constant(const onnx::NodeProto& node, int input) const {
  const std::string edge = input < node.input_size() ? node.input(input) : "";
  if (const OnnxConstant* constant = reading_.constant(edge)) return constant;
  return refuse(node, std::format("its input '{}' is no constant", edge));
}

std::vector<std::int64_t> OnnxImporter::setting(const onnx::NodeProto& node, const char* name, int input) const {
  if (input < node.input_size()) {
    if (const OnnxConstant* constant = reading_.constant(node.input(input))) return constant->integers;
  }
  return integers_attribute(node, name);
}

}  // namespace finch::trainer
