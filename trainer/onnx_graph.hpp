// Builds an ONNX graph operator by operator: each method appends one operator and returns the name of its output edge.
// Not thread safe.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "search/network.hpp"
#include "trainer/error.hpp"
#include "trainer/onnx_writer.hpp"

namespace finch::trainer {

class OnnxGraph {
 public:
  using Edge = std::string;
  using Dimensions = std::vector<std::int64_t>;  // a batch of any size is kBatch
  static constexpr std::int64_t kBatch = -1;

  explicit OnnxGraph(BatchDimension batch) : batch_(batch) {}

  Edge input(const std::string& name, const search::TensorShape& shape);
  // Constants. Denormal floats become zero. REQUIRES: as many values as `dimensions` say.
  Edge constant(const std::string& name, std::span<const float> values, const Dimensions& dimensions);
  Edge constant(const std::string& name, std::span<const std::int8_t> values, const Dimensions& dimensions);
  Edge constant(const std::string& name, std::span<const std::uint8_t> values, const Dimensions& dimensions);
  Edge constant(const std::string& name, std::span<const std::int32_t> values, const Dimensions& dimensions);
  Edge constant(const std::string& name, std::span<const std::int64_t> values, const Dimensions& dimensions);

  Edge add(const std::string& name, const Edge& a, const Edge& b) { return node("Add", name, {a, b}); }
  Edge mul(const std::string& name, const Edge& a, const Edge& b) { return node("Mul", name, {a, b}); }
  // Bilinear with half-pixel centres.
  Edge resize(const std::string& name, const Edge& x, const search::TensorShape& from, const search::TensorShape& to);
  Edge conv(const std::string& name, const Edge& x, const Edge& weight, const Edge& bias,
            const search::Convolution& operation);
  Edge relu(const std::string& name, const Edge& x) { return node("Relu", name, {x}); }
  Edge clip(const std::string& name, const Edge& x, float low, float high);
  Edge clip(const std::string& name, const Edge& x, std::uint8_t low, std::uint8_t high);
  Edge hard_swish(const std::string& name, const Edge& x) { return node("HardSwish", name, {x}); }
  // max(0, min(1, x / 6 + 0.5))
  Edge hard_sigmoid(const std::string& name, const Edge& x);
  Edge sigmoid(const std::string& name, const Edge& x) { return node("Sigmoid", name, {x}); }
  Edge leaky_relu(const std::string& name, const Edge& x, float alpha);
  Edge slice_channels(const std::string& name, const Edge& x, const search::ChannelSlice& operation);
  // Along the channels.
  Edge concat(const std::string& name, const std::vector<Edge>& parts);
  // x of the shape [N, C, H, W]
  Edge shuffle_channels(const std::string& name, const Edge& x, const search::TensorShape& shape, std::int64_t groups);
  Edge average_pool(const std::string& name, const Edge& x, const search::AveragePool& operation);
  Edge global_average_pool(const std::string& name, const Edge& x) { return node("GlobalAveragePool", name, {x}); }
  // [N, C, 1, 1] -> [N, C]
  Edge flatten(const std::string& name, const Edge& x);
  // x [N, in] * weight [in, out] + bias [out]
  Edge gemm(const std::string& name, const Edge& x, const Edge& weight, const Edge& bias) {
    return node("Gemm", name, {x, weight, bias});
  }
  // Per tensor with scalars, else per channel along `axis`.
  // Without a zero point ("") it is zero.
  Edge quantize(const std::string& name, const Edge& x, const Edge& scale, const Edge& zero_point,
                std::int64_t axis = 1);
  Edge dequantize(const std::string& name, const Edge& x, const Edge& scale, const Edge& zero_point,
                  std::int64_t axis = 1);

  // The shape that finish() must find at this edge.
  void expect(const Edge& edge, const Dimensions& dimensions) { expected_.emplace_back(edge, dimensions); }

  // Makes `output` a float output of the graph and gives the serialized model. Errors: what onnx's checker or shape
  // inference finds, shapes that differ from the expected. REQUIRES: called once, last.
  std::expected<std::string, Error> finish(const Edge& output, const Dimensions& dimensions,
                                           const OnnxMetadata& metadata);

 private:
  Edge node(const char* type, const std::string& name, const std::vector<Edge>& inputs);
  onnx::NodeProto& last() { return *model_.mutable_graph()->mutable_node()->rbegin(); }
  onnx::TensorProto& tensor(const std::string& name, onnx::TensorProto::DataType type, const Dimensions& dimensions);
  void describe(onnx::ValueInfoProto& value, const Edge& edge, const Dimensions& dimensions) const;
  std::expected<void, Error> check() const;

  const BatchDimension batch_;
  onnx::ModelProto model_;
  std::vector<std::pair<Edge, Dimensions>> expected_;
};

}  // namespace finch::trainer
