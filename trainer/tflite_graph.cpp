#include "trainer/tflite_graph.hpp"

#include <algorithm>
#include <array>
#include <format>
#include <nlohmann/json.hpp>
#include <ranges>

namespace finch::trainer {
namespace {

using tflite::BuiltinOperator;

constexpr std::uint32_t kFormat = 3;

// The version of an operator that first had what is used here: int8 by channel, half-pixel centres, five dimensions.
std::int32_t version_of(BuiltinOperator code) {
  switch (code) {
    case BuiltinOperator::CONV_2D:
    case BuiltinOperator::DEPTHWISE_CONV_2D:
    case BuiltinOperator::RESIZE_BILINEAR:
      return 3;
    case BuiltinOperator::FULLY_CONNECTED:
    case BuiltinOperator::TRANSPOSE:
      return 4;
    case BuiltinOperator::HARD_SWISH:
    case BuiltinOperator::RESHAPE:
      return 1;
    default:
      return 2;
  }
}

// TensorFlow's "SAME" pads so that a stride s gives ceil(in / s), the odd pixel at the end.
bool same_padding_is(std::int64_t in, std::int64_t kernel, std::int64_t stride, std::int64_t padding) {
  const std::int64_t out = (in + stride - 1) / stride;
  return std::max<std::int64_t>((out - 1) * stride + kernel - in, 0) == 2 * padding;
}

}  // namespace

TfliteGraph::TfliteGraph(BatchDimension batch) : batch_(batch) {
  model_.version = kFormat;
  model_.description = "finch";
  model_.buffers.push_back(std::make_unique<tflite::BufferT>());  // the empty one
  model_.subgraphs.push_back(std::make_unique<tflite::SubGraphT>());
  graph().name = "main";
}

TfliteGraph::Edge TfliteGraph::tensor(const std::string& name, tflite::TensorType type, const Shape& shape) {
  auto tensor = std::make_unique<tflite::TensorT>();
  tensor->name = name;
  tensor->type = type;
  tensor->shape = shape;
  graph().tensors.push_back(std::move(tensor));
  shapes_.push_back(shape);
  types_.emplace_back();
  return static_cast<Edge>(shapes_.size()) - 1;
}

TfliteGraph::Edge TfliteGraph::computed(const std::string& name, Shape shape, Type type) {
  const Edge edge = tensor(name, type ? tflite::TensorType::INT8 : tflite::TensorType::FLOAT32, shape);
  tflite::TensorT& made = *graph().tensors.back();
  if (batch_ == BatchDimension::dynamic) {
    made.shape_signature = shape;
    made.shape_signature.front() = -1;
  }
  if (type) {
    made.quantization = std::make_unique<tflite::QuantizationParametersT>();
    made.quantization->scale = {type->scale};
    made.quantization->zero_point = {type->zero_point};
  }
  types_.back() = type;
  return edge;
}

TfliteGraph::Edge TfliteGraph::filled(const std::string& name, tflite::TensorType type, const Shape& shape,
                                      const void* data, std::size_t bytes) {
  const Edge edge = tensor(name, type, shape);
  auto buffer = std::make_unique<tflite::BufferT>();
  const auto* first = static_cast<const std::uint8_t*>(data);
  buffer->data.assign(first, first + bytes);
  model_.buffers.push_back(std::move(buffer));
  graph().tensors.back()->buffer = static_cast<std::uint32_t>(model_.buffers.size()) - 1;
  return edge;
}

TfliteGraph::Edge TfliteGraph::input(const std::string& name, const search::TensorShape& shape) {
  const Edge edge = computed(name,
                             {1, static_cast<std::int32_t>(shape.height), static_cast<std::int32_t>(shape.width),
                              static_cast<std::int32_t>(shape.channels)},
                             std::nullopt);
  graph().inputs.push_back(edge);
  return edge;
}

TfliteGraph::Edge TfliteGraph::constant(const std::string& name, std::span<const float> values, const Shape& shape) {
  return filled(name, tflite::TensorType::FLOAT32, shape, values.data(), values.size_bytes());
}
TfliteGraph::Edge TfliteGraph::constant(const std::string& name, std::span<const std::int32_t> values,
                                        const Shape& shape) {
  return filled(name, tflite::TensorType::INT32, shape, values.data(), values.size_bytes());
}
TfliteGraph::Edge TfliteGraph::constant(const std::string& name, std::span<const std::int8_t> values,
                                        const Shape& shape, Int8 type) {
  const Edge edge = filled(name, tflite::TensorType::INT8, shape, values.data(), values.size_bytes());
  auto quantization = std::make_unique<tflite::QuantizationParametersT>();
  quantization->scale = {type.scale};
  quantization->zero_point = {type.zero_point};
  graph().tensors.back()->quantization = std::move(quantization);
  types_.back() = type;
  return edge;
}
template <typename T>
TfliteGraph::Edge TfliteGraph::constant(const std::string& name, std::span<const T> values, const Shape& shape,
                                        std::span<const float> scales, int channels_at) {
  constexpr auto kType = sizeof(T) == 1 ? tflite::TensorType::INT8 : tflite::TensorType::INT32;
  const Edge edge = filled(name, kType, shape, values.data(), values.size_bytes());
  auto quantization = std::make_unique<tflite::QuantizationParametersT>();
  quantization->scale.assign(scales.begin(), scales.end());
  quantization->zero_point.assign(scales.size(), 0);
  quantization->quantized_dimension = channels_at;
  graph().tensors.back()->quantization = std::move(quantization);
  return edge;
}
template TfliteGraph::Edge TfliteGraph::constant(const std::string&, std::span<const std::int8_t>, const Shape&,
                                                 std::span<const float>, int);
template TfliteGraph::Edge TfliteGraph::constant(const std::string&, std::span<const std::int32_t>, const Shape&,
                                                 std::span<const float>, int);

template <typename Options>
void TfliteGraph::append(BuiltinOperator code, const std::vector<Edge>& inputs, Edge output,
                         tflite::BuiltinOptions kind, const Options& options) {
  append(code, inputs, output);
  tflite::BuiltinOptionsUnion& made = graph().operators.back()->builtin_options;
  made.type = kind;
  made.value = new Options(options);  // the union's
}

void TfliteGraph::append(BuiltinOperator code, const std::vector<Edge>& inputs, Edge output) {
  const auto [known, added] = codes_.try_emplace(code, static_cast<std::uint32_t>(model_.operator_codes.size()));
  if (added) {
    auto entry = std::make_unique<tflite::OperatorCodeT>();
    entry->builtin_code = code;
    entry->deprecated_builtin_code = static_cast<std::int8_t>(code);
    entry->version = version_of(code);
    model_.operator_codes.push_back(std::move(entry));
  }
  auto made = std::make_unique<tflite::OperatorT>();
  made->opcode_index = known->second;
  made->inputs = inputs;
  made->outputs = {output};
  graph().operators.push_back(std::move(made));
}

std::pair<TfliteGraph::Edge, tflite::Padding> TfliteGraph::padded(const std::string& name, Edge x,
                                                                  const search::Convolution& operation) {
  if (operation.padding == 0) return {x, tflite::Padding::VALID};
  const std::int64_t height = shape(x)[1], width = shape(x)[2];
  if (same_padding_is(height, operation.kernel_size, operation.stride, operation.padding) &&
      same_padding_is(width, operation.kernel_size, operation.stride, operation.padding)) {
    return {x, tflite::Padding::SAME};
  }
  const auto pixels = static_cast<std::int32_t>(operation.padding);
  const std::array<std::int32_t, 8> paddings{0, 0, pixels, pixels, pixels, pixels, 0, 0};
  Shape larger = shape(x);
  larger[1] += 2 * pixels;
  larger[2] += 2 * pixels;
  const Edge amounts = constant(name + ".paddings", std::span<const std::int32_t>(paddings), {4, 2});
  const Edge edge = computed(name + ".padded", larger, type(x));
  append(BuiltinOperator::PAD, {x, amounts}, edge);
  return {edge, tflite::Padding::VALID};
}

TfliteGraph::Edge TfliteGraph::conv(const std::string& name, Edge x, Edge weight, Edge bias,
                                    const search::Convolution& operation, const Shape& shape, Activation activation,
                                    Type to) {
  const auto [source, padding] = padded(name, x, operation);
  tflite::Conv2DOptionsT options;
  options.padding = padding;
  options.stride_h = options.stride_w = static_cast<std::int32_t>(operation.stride);
  options.fused_activation_function = activation;
  const Edge edge = computed(name, shape, to);
  append(BuiltinOperator::CONV_2D, {source, weight, bias}, edge, tflite::BuiltinOptions::Conv2DOptions, options);
  return edge;
}

TfliteGraph::Edge TfliteGraph::depthwise_conv(const std::string& name, Edge x, Edge weight, Edge bias,
                                              const search::Convolution& operation, const Shape& shape,
                                              Activation activation, Type to) {
  const auto [source, padding] = padded(name, x, operation);
  tflite::DepthwiseConv2DOptionsT options;
  options.padding = padding;
  options.stride_h = options.stride_w = static_cast<std::int32_t>(operation.stride);
  options.depth_multiplier = 1;
  options.fused_activation_function = activation;
  const Edge edge = computed(name, shape, to);
  append(BuiltinOperator::DEPTHWISE_CONV_2D, {source, weight, bias}, edge,
         tflite::BuiltinOptions::DepthwiseConv2DOptions, options);
  return edge;
}

TfliteGraph::Edge TfliteGraph::fully_connected(const std::string& name, Edge x, Edge weight, Edge bias, Type to) {
  const Edge edge = computed(name, {1, shape(weight)[0]}, to);
  append(BuiltinOperator::FULLY_CONNECTED, {x, weight, bias}, edge, tflite::BuiltinOptions::FullyConnectedOptions,
         tflite::FullyConnectedOptionsT());
  return edge;
}

TfliteGraph::Edge TfliteGraph::add(const std::string& name, Edge a, Edge b, Activation activation, Type to) {
  tflite::AddOptionsT options;
  options.fused_activation_function = activation;
  const Edge edge = computed(name, shape(a), to);
  append(BuiltinOperator::ADD, {a, b}, edge, tflite::BuiltinOptions::AddOptions, options);
  return edge;
}

TfliteGraph::Edge TfliteGraph::mul(const std::string& name, Edge a, Edge b, Type to) {
  const Edge edge = computed(name, shape(a), to);
  append(BuiltinOperator::MUL, {a, b}, edge, tflite::BuiltinOptions::MulOptions, tflite::MulOptionsT());
  return edge;
}

TfliteGraph::Edge TfliteGraph::unary(BuiltinOperator code, const std::string& name, Edge x, Type to) {
  const Edge edge = computed(name, shape(x), to);
  append(code, {x}, edge);
  return edge;
}

TfliteGraph::Edge TfliteGraph::convert(const std::string& name, Edge x, Type to) {
  return unary(to ? BuiltinOperator::QUANTIZE : BuiltinOperator::DEQUANTIZE, name, x, to);
}

TfliteGraph::Edge TfliteGraph::resize(const std::string& name, Edge x, const search::TensorShape& to) {
  const std::array<std::int32_t, 2> size{static_cast<std::int32_t>(to.height), static_cast<std::int32_t>(to.width)};
  const Edge wanted = constant(name + ".size", std::span<const std::int32_t>(size), {2});
  tflite::ResizeBilinearOptionsT options;
  options.half_pixel_centers = true;
  const Edge edge = computed(name, {1, size[0], size[1], shape(x)[3]}, type(x));
  append(BuiltinOperator::RESIZE_BILINEAR, {x, wanted}, edge, tflite::BuiltinOptions::ResizeBilinearOptions, options);
  return edge;
}

TfliteGraph::Edge TfliteGraph::slice_channels(const std::string& name, Edge x, const search::ChannelSlice& operation) {
  const std::array<std::int32_t, 4> begin{0, 0, 0, static_cast<std::int32_t>(operation.begin)};
  const std::array<std::int32_t, 4> size{-1, -1, -1, static_cast<std::int32_t>(operation.count)};  // -1: to the end
  const Edge from = constant(name + ".begin", std::span<const std::int32_t>(begin), {4});
  const Edge count = constant(name + ".size", std::span<const std::int32_t>(size), {4});
  Shape smaller = shape(x);
  smaller[3] = size[3];
  const Edge edge = computed(name, smaller, type(x));
  append(BuiltinOperator::SLICE, {x, from, count}, edge);
  return edge;
}

TfliteGraph::Edge TfliteGraph::concat(const std::string& name, const std::vector<Edge>& parts) {
  constexpr int kChannels = 3;
  Shape joined = shape(parts.front());
  for (const Edge part : parts | std::views::drop(1)) joined[kChannels] += shape(part)[kChannels];
  tflite::ConcatenationOptionsT options;
  options.axis = kChannels;
  const Edge edge = computed(name, joined, type(parts.front()));
  append(BuiltinOperator::CONCATENATION, parts, edge, tflite::BuiltinOptions::ConcatenationOptions, options);
  return edge;
}

TfliteGraph::Edge TfliteGraph::reshape(const std::string& name, Edge x, const Shape& shape) {
  Shape wanted = shape;
  if (batch_ == BatchDimension::dynamic) wanted.front() = -1;
  const Edge sizes =
      constant(name + ".sizes", std::span<const std::int32_t>(wanted), {static_cast<std::int32_t>(wanted.size())});
  tflite::ReshapeOptionsT options;
  options.new_shape = wanted;
  const Edge edge = computed(name, shape, type(x));
  append(BuiltinOperator::RESHAPE, {x, sizes}, edge, tflite::BuiltinOptions::ReshapeOptions, options);
  return edge;
}

TfliteGraph::Edge TfliteGraph::shuffle_channels(const std::string& name, Edge x, std::int64_t groups) {
  const Shape whole = shape(x);
  const auto count = static_cast<std::int32_t>(groups), each = whole[3] / count;
  const Edge split = reshape(name + ".split", x, {1, whole[1], whole[2], count, each});
  const std::array<std::int32_t, 5> order{0, 1, 2, 4, 3};
  const Edge permutation = constant(name + ".order", std::span<const std::int32_t>(order), {5});
  const Edge transposed = computed(name + ".transposed", {1, whole[1], whole[2], each, count}, type(x));
  append(BuiltinOperator::TRANSPOSE, {split, permutation}, transposed);
  return reshape(name, transposed, whole);
}

TfliteGraph::Edge TfliteGraph::average_pool(const std::string& name, Edge x, const search::AveragePool& operation,
                                            const Shape& shape) {
  tflite::Pool2DOptionsT options;
  options.padding = operation.padding == 0 ? tflite::Padding::VALID : tflite::Padding::SAME;
  // What is padded is not part of the mean, as in the network; so no PAD may stand in.
  for (const std::int32_t in : {this->shape(x)[1], this->shape(x)[2]}) {
    if (operation.padding > 0 && !same_padding_is(in, operation.kernel_size, operation.stride, operation.padding) &&
        error_.empty()) {
      error_ = std::format(
          "node '{}': an average pool over {} pixels with padding {} and stride {} cannot be said in "
          "TensorFlow Lite's format",
          name, in, operation.padding, operation.stride);
    }
  }
  options.stride_h = options.stride_w = static_cast<std::int32_t>(operation.stride);
  options.filter_height = options.filter_width = static_cast<std::int32_t>(operation.kernel_size);
  const Edge edge = computed(name, shape, type(x));
  append(BuiltinOperator::AVERAGE_POOL_2D, {x}, edge, tflite::BuiltinOptions::Pool2DOptions, options);
  return edge;
}

TfliteGraph::Edge TfliteGraph::global_average_pool(const std::string& name, Edge x, Type to) {
  const std::array<std::int32_t, 2> axes{1, 2};
  const Edge over = constant(name + ".axes", std::span<const std::int32_t>(axes), {2});
  tflite::ReducerOptionsT options;
  options.keep_dims = true;
  const Edge edge = computed(name, {1, 1, 1, shape(x)[3]}, to);
  append(BuiltinOperator::MEAN, {x, over}, edge, tflite::BuiltinOptions::ReducerOptions, options);
  return edge;
}

TfliteGraph::Edge TfliteGraph::flatten(const std::string& name, Edge x) {
  return reshape(name, x, {1, shape(x)[3]});
}

std::expected<std::string, Error> TfliteGraph::finish(Edge output, const OnnxMetadata& metadata) {
  constexpr const char* kOutput = "logits";
  if (!error_.empty()) return std::unexpected(Error{error_});
  graph().outputs = {output};
  graph().tensors[static_cast<std::size_t>(output)]->name = kOutput;
  const auto property = [&](const char* key, const std::string& value) {
    auto entry = std::make_unique<tflite::MetadataT>();
    entry->name = key;
    entry->buffer = static_cast<std::uint32_t>(model_.buffers.size());
    auto buffer = std::make_unique<tflite::BufferT>();
    buffer->data.assign(value.begin(), value.end());
    model_.buffers.push_back(std::move(buffer));
    model_.metadata.push_back(std::move(entry));
  };
  property("space", metadata.space);
  property("genotype", metadata.genotype);
  property("campaign", metadata.campaign);
  property("class_names",
           nlohmann::json(metadata.class_names).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  const auto named = [](const std::string& name, Edge edge) {
    auto map = std::make_unique<tflite::TensorMapT>();
    map->name = name;
    map->tensor_index = static_cast<std::uint32_t>(edge);
    return map;
  };
  auto signature = std::make_unique<tflite::SignatureDefT>();
  signature->signature_key = "serving_default";
  signature->inputs.push_back(
      named(graph().tensors[static_cast<std::size_t>(graph().inputs.front())]->name, graph().inputs.front()));
  signature->outputs.push_back(named(kOutput, output));
  model_.signature_defs.push_back(std::move(signature));

  flatbuffers::FlatBufferBuilder builder;
  tflite::FinishModelBuffer(builder, tflite::Model::Pack(builder, &model_));
  flatbuffers::Verifier verifier(builder.GetBufferPointer(), builder.GetSize());
  if (!tflite::VerifyModelBuffer(verifier)) return std::unexpected(Error{"the TensorFlow Lite model is not valid"});
  return std::string(reinterpret_cast<const char*>(builder.GetBufferPointer()), builder.GetSize());
}

}  // namespace finch::trainer
