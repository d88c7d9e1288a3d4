#include "trainer/onnx_graph.hpp"

#include <onnx/checker.h>
#include <onnx/shape_inference/implementation.h>

#include <cmath>
#include <exception>
#include <format>
#include <map>
#include <nlohmann/json.hpp>

namespace finch::trainer {
namespace {

constexpr int kOpset = 17;
constexpr int kIrVersion = 8;  // the one that belongs to opset 17; ONNX Runtime reads it from 1.12 on

void set_integer(onnx::NodeProto& node, const char* name, std::int64_t value) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::INT);
  attribute.set_i(value);
}

void set_float(onnx::NodeProto& node, const char* name, float value) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::FLOAT);
  attribute.set_f(value);
}

void set_string(onnx::NodeProto& node, const char* name, const char* value) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::STRING);
  attribute.set_s(value);
}

void set_integers(onnx::NodeProto& node, const char* name, std::initializer_list<std::int64_t> values) {
  onnx::AttributeProto& attribute = *node.add_attribute();
  attribute.set_name(name);
  attribute.set_type(onnx::AttributeProto::INTS);
  for (const std::int64_t value : values) attribute.add_ints(value);
}

template <typename T>
void set_data(onnx::TensorProto& tensor, std::span<const T> values) {
  tensor.set_raw_data(values.data(), values.size_bytes());
}

// The scale that gives exactly `to` when a runtime computes floor(from * scale) in float.
float resize_scale(std::int64_t from, std::int64_t to) {
  float scale = static_cast<float>(to) / static_cast<float>(from);
  while (static_cast<std::int64_t>(std::floor(static_cast<float>(from) * scale)) < to)
    scale = std::nextafter(scale, 2 * scale);
  return scale;
}

std::string text(const OnnxGraph::Dimensions& dimensions) {
  std::string result;
  for (const std::int64_t size : dimensions) {
    result += (result.empty() ? "" : ", ") + (size == OnnxGraph::kBatch ? std::string("batch") : std::to_string(size));
  }
  return "[" + result + "]";
}

}  // namespace

OnnxGraph::Edge OnnxGraph::node(const char* type, const std::string& name, const std::vector<Edge>& inputs) {
  onnx::NodeProto& node = *model_.mutable_graph()->add_node();
  node.set_op_type(type);
  node.set_name(name);
  for (const Edge& input : inputs) node.add_input(input);
  node.add_output(name);
  return name;
}

onnx::TensorProto& OnnxGraph::tensor(const std::string& name, onnx::TensorProto::DataType type,
                                     const Dimensions& dimensions) {
  onnx::TensorProto& tensor = *model_.mutable_graph()->add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(type);
  for (const std::int64_t size : dimensions) tensor.add_dims(size);
  return tensor;
}

void OnnxGraph::describe(onnx::ValueInfoProto& value, const Edge& edge, const Dimensions& dimensions) const {
  value.set_name(edge);
  onnx::TypeProto::Tensor& type = *value.mutable_type()->mutable_tensor_type();
  type.set_elem_type(onnx::TensorProto::FLOAT);
  for (const std::int64_t size : dimensions) {
    onnx::TensorShapeProto::Dimension& dimension = *type.mutable_shape()->add_dim();
    if (size != kBatch) {
      dimension.set_dim_value(size);
    } else if (batch_ == BatchDimension::one) {
      dimension.set_dim_value(1);
    } else {
      dimension.set_dim_param("batch");
    }
  }
}

OnnxGraph::Edge OnnxGraph::input(const std::string& name, const search::TensorShape& shape) {
  describe(*model_.mutable_graph()->add_input(), name, {kBatch, shape.channels, shape.height, shape.width});
  return name;
}

OnnxGraph::Edge OnnxGraph::constant(const std::string& name, std::span<const float> values,
                                    const Dimensions& dimensions) {
  std::vector<float> normal(values.begin(), values.end());
  for (float& value : normal) {
    if (std::fpclassify(value) == FP_SUBNORMAL) value = 0;
  }
  set_data<float>(tensor(name, onnx::TensorProto::FLOAT, dimensions), normal);
  return name;
}

OnnxGraph::Edge OnnxGraph::constant(const std::string& name, std::span<const std::int8_t> values,
                                    const Dimensions& dimensions) {
  set_data(tensor(name, onnx::TensorProto::INT8, dimensions), values);
  return name;
}

OnnxGraph::Edge OnnxGraph::constant(const std::string& name, std::span<const std::uint8_t> values,
                                    const Dimensions& dimensions) {
  set_data(tensor(name, onnx::TensorProto::UINT8, dimensions), values);
  return name;
}

OnnxGraph::Edge OnnxGraph::constant(const std::string& name, std::span<const std::int32_t> values,
                                    const Dimensions& dimensions) {
  set_data(tensor(name, onnx::TensorProto::INT32, dimensions), values);
  return name;
}

OnnxGraph::Edge OnnxGraph::constant(const std::string& name, std::span<const std::int64_t> values,
                                    const Dimensions& dimensions) {
  set_data(tensor(name, onnx::TensorProto::INT64, dimensions), values);
  return name;
}

OnnxGraph::Edge OnnxGraph::resize(const std::string& name, const Edge& x, const search::TensorShape& from,
                                  const search::TensorShape& to) {
  // Scales rather than sizes: these would need the batch's size.
  const float scales[] = {1, 1, resize_scale(from.height, to.height), resize_scale(from.width, to.width)};
  const Edge edge = node("Resize", name, {x, "", constant(name + ".scales", scales, {4})});
  set_string(last(), "mode", "linear");
  set_string(last(), "coordinate_transformation_mode", "half_pixel");
  return edge;
}

OnnxGraph::Edge OnnxGraph::conv(const std::string& name, const Edge& x, const Edge& weight, const Edge& bias,
                                const search::Convolution& operation) {
  const Edge edge = node("Conv", name, {x, weight, bias});
  set_integers(last(), "kernel_shape", {operation.kernel_size, operation.kernel_size});
  set_integers(last(), "strides", {operation.stride, operation.stride});
  set_integers(last(), "pads", {operation.padding, operation.padding, operation.padding, operation.padding});
  set_integer(last(), "group", operation.groups);
  return edge;
}

OnnxGraph::Edge OnnxGraph::clip(const std::string& name, const Edge& x, float low, float high) {
  return node("Clip", name,
              {x, constant(name + ".low", std::span<const float>(&low, 1), {}),
               constant(name + ".high", std::span<const float>(&high, 1), {})});
}

OnnxGraph::Edge OnnxGraph::clip(const std::string& name, const Edge& x, std::uint8_t low, std::uint8_t high) {
  return node("Clip", name,
              {x, constant(name + ".low", std::span<const std::uint8_t>(&low, 1), {}),
               constant(name + ".high", std::span<const std::uint8_t>(&high, 1), {})});
}

OnnxGraph::Edge OnnxGraph::hard_sigmoid(const std::string& name, const Edge& x) {
  const Edge edge = node("HardSigmoid", name, {x});
  set_float(last(), "alpha", 1.0F / 6);
  set_float(last(), "beta", 0.5F);
  return edge;
}

OnnxGraph::Edge OnnxGraph::leaky_relu(const std::string& name, const Edge& x, float alpha) {
  const Edge edge = node("LeakyRelu", name, {x});
  set_float(last(), "alpha", alpha);
  return edge;
}

OnnxGraph::Edge OnnxGraph::slice_channels(const std::string& name, const Edge& x,
                                          const search::ChannelSlice& operation) {
  const auto number = [&](const char* what, std::int64_t value) {
    return constant(name + what, std::span<const std::int64_t>(&value, 1), {1});
  };
  return node(
      "Slice", name,
      {x, number(".begin", operation.begin), number(".end", operation.begin + operation.count), number(".axis", 1)});
}

OnnxGraph::Edge OnnxGraph::concat(const std::string& name, const std::vector<Edge>& parts) {
  const Edge edge = node("Concat", name, parts);
  set_integer(last(), "axis", 1);
  return edge;
}

OnnxGraph::Edge OnnxGraph::shuffle_channels(const std::string& name, const Edge& x, const search::TensorShape& shape,
                                            std::int64_t groups) {
  // A zero keeps the batch's size.
  const std::int64_t split[] = {0, groups, shape.channels / groups, shape.height, shape.width};
  const std::int64_t joined[] = {0, shape.channels, shape.height, shape.width};
  const Edge groups_first =
      node("Reshape", name + ".split", {x, constant(name + ".split.shape", std::span(split), {5})});
  const Edge groups_last = node("Transpose", name + ".transposed", {groups_first});
  set_integers(last(), "perm", {0, 2, 1, 3, 4});
  return node("Reshape", name, {groups_last, constant(name + ".shape", std::span(joined), {4})});
}

OnnxGraph::Edge OnnxGraph::average_pool(const std::string& name, const Edge& x, const search::AveragePool& operation) {
  const Edge edge = node("AveragePool", name, {x});
  set_integers(last(), "kernel_shape", {operation.kernel_size, operation.kernel_size});
  set_integers(last(), "strides", {operation.stride, operation.stride});
  set_integers(last(), "pads", {operation.padding, operation.padding, operation.padding, operation.padding});
  set_integer(last(), "count_include_pad", 0);
  return edge;
}

OnnxGraph::Edge OnnxGraph::flatten(const std::string& name, const Edge& x) {
  const Edge edge = node("Flatten", name, {x});
  set_integer(last(), "axis", 1);
  return edge;
}

OnnxGraph::Edge OnnxGraph::quantize(const std::string& name, const Edge& x, const Edge& scale, const Edge& zero_point,
                                    std::int64_t axis) {
  const Edge edge = node("QuantizeLinear", name, {x, scale, zero_point});
  set_integer(last(), "axis", axis);
  return edge;
}

OnnxGraph::Edge OnnxGraph::dequantize(const std::string& name, const Edge& x, const Edge& scale, const Edge& zero_point,
                                      std::int64_t axis) {
  const Edge edge = node("DequantizeLinear", name, {x, scale, zero_point});
  set_integer(last(), "axis", axis);
  return edge;
}

std::expected<void, Error> OnnxGraph::check() const {
  onnx::ModelProto inferred = model_;
  try {
    onnx::checker::check_model(model_);
    const onnx::ShapeInferenceOptions strict(/*check_type=*/true, /*strict_mode=*/1, /*data_prop=*/true);
    onnx::shape_inference::InferShapes(inferred, onnx::OpSchemaRegistry::Instance(), strict);
  } catch (const std::exception& error) {
    return std::unexpected(Error{std::format("the ONNX model is not valid: {}", error.what())});
  }
  std::map<Edge, Dimensions> found;
  const auto collect = [&](const auto& values) {
    for (const onnx::ValueInfoProto& value : values) {
      Dimensions& dimensions = found[value.name()];
      for (const auto& size : value.type().tensor_type().shape().dim()) {
        dimensions.push_back(size.has_dim_value() ? size.dim_value() : kBatch);
      }
    }
  };
  collect(inferred.graph().input());
  collect(inferred.graph().value_info());
  collect(inferred.graph().output());
  for (const auto& [edge, dimensions] : expected_) {
    Dimensions expected = dimensions;
    if (batch_ == BatchDimension::one) expected.front() = 1;
    if (found[edge] != expected) {
      return std::unexpected(Error{std::format("the ONNX model's '{}' has the shape {}, the network's {}", edge,
                                               text(found[edge]), text(expected))});
    }
  }
  return {};
}

std::expected<std::string, Error> OnnxGraph::finish(const Edge& output, const Dimensions& dimensions,
                                                    const OnnxMetadata& metadata) {
  describe(*model_.mutable_graph()->add_output(), output, dimensions);
  model_.mutable_graph()->set_name("network");
  model_.set_ir_version(kIrVersion);
  model_.set_producer_name("finch");
  onnx::OperatorSetIdProto& opset = *model_.add_opset_import();
  opset.set_domain("");
  opset.set_version(kOpset);
  const auto property = [&](const char* key, const std::string& value) {
    onnx::StringStringEntryProto& entry = *model_.add_metadata_props();
    entry.set_key(key);
    entry.set_value(value);
  };
  property("space", metadata.space);
  property("genotype", metadata.genotype);
  property("campaign", metadata.campaign);
  property("class_names",
           nlohmann::json(metadata.class_names).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  if (!metadata.float_layers.empty()) property("float_layers", nlohmann::json(metadata.float_layers).dump());
  expect(output, dimensions);
  if (auto checked = check(); !checked) return std::unexpected(checked.error());
  std::string bytes;
  if (!model_.SerializeToString(&bytes)) return std::unexpected(Error{"the ONNX model is too large to be written"});
  return bytes;
}

}  // namespace finch::trainer
