#include "trainer/onnx_weights.hpp"

#include <ranges>
#include <utility>

#include "trainer/onnx_reading.hpp"

namespace finch::trainer {
namespace {

// "/features/features.1/conv/conv.0/conv.0.0/Conv" -> "features.1.conv.0.0", as exporters scope their nodes: a child of
// a sequence repeats its parent's name.
std::string module_path(const std::string& node) {
  std::vector<std::string> parts;
  for (const auto part : std::views::split(node, '/')) {
    std::string name(part.begin(), part.end());
    if (name.empty()) continue;
    if (!parts.empty() && name.starts_with(parts.back() + ".")) parts.pop_back();
    parts.push_back(std::move(name));
  }
  if (node.contains('/') && parts.size() > 1) parts.pop_back();  // the operator
  std::string path;
  for (const std::string& part : parts) path += (path.empty() ? "" : ".") + part;
  return path;
}

OnnxWeights transposed(const OnnxWeights& weights) {
  const auto rows = static_cast<std::size_t>(weights.shape[0]), columns = static_cast<std::size_t>(weights.shape[1]);
  OnnxWeights result{{weights.shape[1], weights.shape[0]}, std::vector<float>(weights.values.size())};
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < columns; ++c) result.values[c * rows + r] = weights.values[r * columns + c];
  }
  return result;
}

// Of the layer: the beginning of its weight's name where that says more than a number.
std::string layer_path(const onnx::NodeProto& node) {
  constexpr std::string_view kWeight = ".weight";
  const std::string& weight = node.input_size() > 1 ? node.input(1) : "";
  if (weight.ends_with(kWeight) && !weight.starts_with("onnx::") && !weight.starts_with("/"))
    return weight.substr(0, weight.size() - kWeight.size());
  return module_path(node.name());
}

}  // namespace

std::expected<std::map<std::string, OnnxWeights>, Error> read_onnx_weights(std::string_view bytes) {
  const auto reading = OnnxReading::read(bytes);
  if (!reading) return std::unexpected(reading.error());
  std::map<std::string, OnnxWeights> tensors;
  for (const onnx::NodeProto* node : reading->nodes()) {
    const std::string path = layer_path(*node), &type = node->op_type();
    const auto take = [&](int input, const char* name) {
      const OnnxConstant* constant = node->input_size() > input ? reading->constant(node->input(input)) : nullptr;
      if (constant != nullptr && !constant->floats.empty())
        tensors[path + "." + name] = {.shape = constant->dims, .values = constant->floats};
    };
    if (type != "Conv" && type != "Gemm" && type != "BatchNormalization") continue;
    take(1, "weight");
    take(2, "bias");
    if (type == "BatchNormalization") {
      take(3, "running_mean");
      take(4, "running_var");
    }
    const auto weight = tensors.find(path + ".weight");
    if (type == "Gemm" && weight != tensors.end() && weight->second.shape.size() == 2 &&
        integer_attribute(*node, "transB", 0) == 0)
      weight->second = transposed(weight->second);
  }
  return tensors;
}

}  // namespace finch::trainer
