// Builds a TensorFlow Lite graph operator by operator: each method appends one operator and returns its output's edge.
// Not thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "search/network.hpp"
#include "trainer/error.hpp"
#include "trainer/onnx_writer.hpp"
#include "trainer/tflite_schema_generated.h"

namespace finch::trainer {

class TfliteGraph {
 public:
  using Edge = std::int32_t;                // index of the tensor
  using Shape = std::vector<std::int32_t>;  // [1, H, W, C]; the batch, in front, may be left open
  using Activation = tflite::ActivationFunctionType;
  // real = scale * (integer - zero_point), int8.
  struct Int8 {
    float scale = 1;
    std::int64_t zero_point = 0;
    bool operator==(const Int8&) const = default;
  };
  using Type = std::optional<Int8>;  // nothing: float32

  explicit TfliteGraph(BatchDimension batch);

  Edge input(const std::string& name, const search::TensorShape& shape);
  Edge constant(const std::string& name, std::span<const float> values, const Shape& shape);
  Edge constant(const std::string& name, std::span<const std::int32_t> values, const Shape& shape);
  // Per tensor.
  Edge constant(const std::string& name, std::span<const std::int8_t> values, const Shape& shape, Int8 type);
  // Symmetric, a scale for each index of dimension `channels_at`; int8 or int32.
  template <typename T>
  Edge constant(const std::string& name, std::span<const T> values, const Shape& shape, std::span<const float> scales,
                int channels_at);

  const Shape& shape(Edge edge) const { return shapes_[static_cast<std::size_t>(edge)]; }
  Type type(Edge edge) const { return types_[static_cast<std::size_t>(edge)]; }

  // The output has the type `to`, or x's where there is no such parameter.
  Edge conv(const std::string& name, Edge x, Edge weight, Edge bias, const search::Convolution& operation,
            const Shape& shape, Activation activation, Type to);
  Edge depthwise_conv(const std::string& name, Edge x, Edge weight, Edge bias, const search::Convolution& operation,
                      const Shape& shape, Activation activation, Type to);
  // x [N, in] or [N, 1, 1, in], weight [out, in]
  Edge fully_connected(const std::string& name, Edge x, Edge weight, Edge bias, Type to);
  Edge add(const std::string& name, Edge a, Edge b, Activation activation, Type to);
  Edge mul(const std::string& name, Edge a, Edge b, Type to);
  // RELU, RELU6, LOGISTIC, HARD_SWISH: element by element.
  Edge unary(tflite::BuiltinOperator code, const std::string& name, Edge x, Type to);
  // Between float and int8, or from one int8 to another.
  Edge convert(const std::string& name, Edge x, Type to);
  // Bilinear with half-pixel centres.
  Edge resize(const std::string& name, Edge x, const search::TensorShape& to);
  Edge slice_channels(const std::string& name, Edge x, const search::ChannelSlice& operation);
  // Along the channels. REQUIRES: parts of one type.
  Edge concat(const std::string& name, const std::vector<Edge>& parts);
  Edge shuffle_channels(const std::string& name, Edge x, std::int64_t groups);
  Edge average_pool(const std::string& name, Edge x, const search::AveragePool& operation, const Shape& shape);
  // [N, H, W, C] -> [N, 1, 1, C]
  Edge global_average_pool(const std::string& name, Edge x, Type to);
  // [N, 1, 1, C] -> [N, C]
  Edge flatten(const std::string& name, Edge x);

  // Makes `output` the output of the graph, named "logits", and gives the file. Errors: see tflite_writer.hpp.
  // REQUIRES: called once, last.
  std::expected<std::string, Error> finish(Edge output, const OnnxMetadata& metadata);

 private:
  Edge tensor(const std::string& name, tflite::TensorType type, const Shape& shape);
  Edge filled(const std::string& name, tflite::TensorType type, const Shape& shape, const void* data,
              std::size_t bytes);
  // By value: a shape may be another edge's, which moves when an edge is added.
  Edge computed(const std::string& name, Shape shape, Type type);
  template <typename Options>
  void append(tflite::BuiltinOperator code, const std::vector<Edge>& inputs, Edge output, tflite::BuiltinOptions kind,
              const Options& options);
  void append(tflite::BuiltinOperator code, const std::vector<Edge>& inputs, Edge output);
  Edge reshape(const std::string& name, Edge x, const Shape& shape);
  // The padding as the format's word for it, with a PAD before where there is none.
  std::pair<Edge, tflite::Padding> padded(const std::string& name, Edge x, const search::Convolution& operation);
  tflite::SubGraphT& graph() { return *model_.subgraphs.front(); }

  BatchDimension batch_;
  tflite::ModelT model_;
  std::vector<Shape> shapes_;  // by edge
  std::vector<Type> types_;
  std::map<tflite::BuiltinOperator, std::uint32_t> codes_;
  std::string error_;  // the first
};

}  // namespace finch::trainer
