#include "trainer/onnx_reading.hpp"

#include <algorithm>
#include <cstring>
#include <format>
#include <set>

namespace finch::trainer {
namespace {

constexpr std::int64_t kOldestOpset = 7;  // before it broadcasting and BatchNormalization meant something else
constexpr std::int64_t kMostElements = std::int64_t{1} << 30;

std::unexpected<Error> fail(std::string message) {
  return std::unexpected(Error{std::move(message)});
}

template <typename From, typename To>
bool copy_raw(const std::string& raw, std::int64_t elements, std::vector<To>& values) {
  if (raw.size() != static_cast<std::size_t>(elements) * sizeof(From)) return false;
  std::vector<From> read(static_cast<std::size_t>(elements));
  std::memcpy(read.data(), raw.data(), raw.size());
  values.assign(read.begin(), read.end());
  return true;
}

// Of a tensor that has its values in a field of their type, or as raw little-endian bytes.
template <typename From, typename Field, typename To>
bool copy_values(const onnx::TensorProto& tensor, const Field& field, std::int64_t elements, std::vector<To>& values) {
  if (tensor.has_raw_data()) return copy_raw<From>(tensor.raw_data(), elements, values);
  values.assign(field.begin(), field.end());
  return static_cast<std::int64_t>(field.size()) == elements;
}

}  // namespace

std::int64_t OnnxConstant::elements() const {
  std::int64_t elements = 1;
  for (const std::int64_t size : dims) elements *= size;
  return elements;
}

std::string node_text(const onnx::NodeProto& node) {
  const std::string name = !node.name().empty() ? node.name() : node.output_size() > 0 ? node.output(0) : "";
  return std::format("{} '{}'", node.op_type(), name);
}

const onnx::AttributeProto* attribute(const onnx::NodeProto& node, const char* name) {
  const auto found = std::ranges::find_if(node.attribute(), [&](const auto& known) { return known.name() == name; });
  return found == node.attribute().end() ? nullptr : &*found;
}

std::int64_t integer_attribute(const onnx::NodeProto& node, const char* name, std::int64_t otherwise) {
  const auto* found = attribute(node, name);
  return found == nullptr ? otherwise : found->i();
}

float float_attribute(const onnx::NodeProto& node, const char* name, float otherwise) {
  const auto* found = attribute(node, name);
  return found == nullptr ? otherwise : found->f();
}

std::vector<std::int64_t> integers_attribute(const onnx::NodeProto& node, const char* name) {
  const auto* found = attribute(node, name);
  if (found == nullptr) return {};
  return {found->ints().begin(), found->ints().end()};
}

std::string string_attribute(const onnx::NodeProto& node, const char* name, const std::string& otherwise) {
  const auto* found = attribute(node, name);
  return found == nullptr ? otherwise : found->s();
}

std::expected<OnnxConstant, Error> constant_of(const onnx::TensorProto& tensor, const std::string& name) {
  if (tensor.data_location() == onnx::TensorProto::EXTERNAL)
    return fail(std::format("the weights of '{}' lie outside the file; save the model as one file", name));
  OnnxConstant constant;
  constant.dims.assign(tensor.dims().begin(), tensor.dims().end());
  std::int64_t elements = 1;
  for (const std::int64_t size : constant.dims) {
    if (size < 0 || size > kMostElements || elements * size > kMostElements)
      return fail(std::format("the tensor '{}' has an impossible shape", name));
    elements *= size;
  }
  bool whole = false;
  switch (tensor.data_type()) {
    case onnx::TensorProto::FLOAT:
      whole = copy_values<float>(tensor, tensor.float_data(), elements, constant.floats);
      break;
    case onnx::TensorProto::INT64:
      whole = copy_values<std::int64_t>(tensor, tensor.int64_data(), elements, constant.integers);
      break;
    case onnx::TensorProto::INT32:
      whole = copy_values<std::int32_t>(tensor, tensor.int32_data(), elements, constant.integers);
      break;
    default:
      return fail(std::format(
          "the tensor '{}' is of the type {}; only float32 models can be read: give the model as it was before it was "
          "quantized or halved",
          name, onnx::TensorProto::DataType_Name(tensor.data_type())));
  }
  if (!whole) return fail(std::format("the tensor '{}' has not as many values as its shape says", name));
  return constant;
}

std::expected<OnnxReading, Error> OnnxReading::read(std::string_view bytes) {
  OnnxReading reading;
  if (!reading.model_.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) || !reading.model_.has_graph())
    return fail("not an ONNX model, or a damaged one");
  for (const onnx::OperatorSetIdProto& opset : reading.model_.opset_import()) {
    const bool standard = opset.domain().empty() || opset.domain() == "ai.onnx";
    if (standard && opset.version() < kOldestOpset) {
      return fail(std::format("the model is of operator set {}; export it anew with {} or newer", opset.version(),
                              kOldestOpset));
    }
  }
  return reading.read_constants().and_then([&] { return reading.read_ends(); }).transform([&] {
    reading.read_edges();
    return std::move(reading);
  });
}

std::expected<void, Error> OnnxReading::read_constants() {
  for (const onnx::TensorProto& tensor : model_.graph().initializer()) {
    auto constant = constant_of(tensor, tensor.name());
    if (!constant) return std::unexpected(constant.error());
    constants_[tensor.name()] = std::move(*constant);
  }
  return {};
}

std::expected<void, Error> OnnxReading::read_ends() {
  const onnx::GraphProto& graph = model_.graph();
  const onnx::ValueInfoProto* image = nullptr;
  for (const onnx::ValueInfoProto& input : graph.input()) {
    if (constants_.contains(input.name())) continue;
    if (image != nullptr)
      return fail(std::format("the model has several inputs ('{}', '{}'); Finch's have one, the image", image->name(),
                              input.name()));
    image = &input;
  }
  if (image == nullptr) return fail("the model has no input");
  if (graph.output_size() != 1)
    return fail(std::format("the model has {} outputs; Finch's have one, the logits", graph.output_size()));
  input_ = image->name();
  output_ = graph.output(0).name();
  const auto& type = image->type().tensor_type();
  if (type.elem_type() != onnx::TensorProto::FLOAT || type.shape().dim_size() != 4)
    return fail(std::format("the input '{}' is no float32 [N, C, H, W]", input_));
  const auto extent = [&](int axis) {
    const auto& size = type.shape().dim(axis);
    return size.has_dim_value() && size.dim_value() > 0 ? size.dim_value() : 0;
  };
  image_ = {extent(1), extent(2), extent(3)};
  return {};
}

void OnnxReading::read_edges() {
  std::set<std::string> wanted = {output_};
  const auto& all = model_.graph().node();
  for (int i = all.size() - 1; i >= 0; --i) {
    const onnx::NodeProto& node = all[i];
    if (std::ranges::none_of(node.output(), [&](const std::string& edge) { return wanted.contains(edge); })) continue;
    nodes_.push_back(&node);
    for (const std::string& edge : node.input()) {
      if (edge.empty()) continue;
      wanted.insert(edge);
      auto& readers = readers_[edge];
      if (std::ranges::find(readers, &node) == readers.end()) readers.push_back(&node);
    }
  }
  std::ranges::reverse(nodes_);
}

const OnnxConstant* OnnxReading::constant(const std::string& edge) const {
  const auto found = constants_.find(edge);
  return found == constants_.end() ? nullptr : &found->second;
}

const onnx::NodeProto* OnnxReading::sole_reader(const std::string& edge) const {
  const auto found = readers_.find(edge);
  if (found == readers_.end() || found->second.size() != 1 || edge == output_) return nullptr;
  return found->second.front();
}

std::map<std::string, std::string> OnnxReading::metadata() const {
  std::map<std::string, std::string> properties;
  for (const auto& entry : model_.metadata_props()) properties[entry.key()] = entry.value();
  return properties;
}

}  // namespace finch::trainer
