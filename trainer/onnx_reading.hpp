// An ONNX graph as it is read: constants, attributes, who reads what. Not thread safe.
#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <expected>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "search/network.hpp"
#include "trainer/error.hpp"

namespace finch::trainer {

struct OnnxConstant {
  std::vector<std::int64_t> dims;
  std::vector<float> floats;           // of a float tensor
  std::vector<std::int64_t> integers;  // of an int64 or int32 tensor

  std::int64_t elements() const;
};

class OnnxReading {
 public:
  // Errors: not ONNX, an operator set that is too old, several inputs or outputs, weights outside the file or of a type
  // other than float32, int64 and int32, an input that is not an image.
  static std::expected<OnnxReading, Error> read(std::string_view bytes);
  OnnxReading(OnnxReading&&) = default;  // the nodes stay where they are
  OnnxReading(const OnnxReading&) = delete;

  // The nodes that the output depends on, in their order.
  const std::vector<const onnx::NodeProto*>& nodes() const { return nodes_; }
  const OnnxConstant* constant(const std::string& edge) const;  // null: none
  void add_constant(const std::string& edge, OnnxConstant value) { constants_[edge] = std::move(value); }
  // The node that alone reads the edge; null: several, none, or the edge is the output.
  const onnx::NodeProto* sole_reader(const std::string& edge) const;
  bool is_read(const std::string& edge) const { return readers_.contains(edge) || edge == output_; }

  const std::string& input() const { return input_; }
  const std::string& output() const { return output_; }
  // [C, H, W] of the input; 0 where the file leaves it open.
  const search::TensorShape& image() const { return image_; }
  std::map<std::string, std::string> metadata() const;

 private:
  OnnxReading() = default;
  std::expected<void, Error> read_constants();
  std::expected<void, Error> read_ends();
  void read_edges();

  onnx::ModelProto model_;
  std::vector<const onnx::NodeProto*> nodes_;
  std::map<std::string, OnnxConstant> constants_;
  std::map<std::string, std::vector<const onnx::NodeProto*>> readers_;
  std::string input_, output_;
  search::TensorShape image_;
};

// "Conv 'features.0.0'": how messages name a node.
std::string node_text(const onnx::NodeProto& node);

const onnx::AttributeProto* attribute(const onnx::NodeProto& node, const char* name);  // null: absent
std::int64_t integer_attribute(const onnx::NodeProto& node, const char* name, std::int64_t otherwise);
float float_attribute(const onnx::NodeProto& node, const char* name, float otherwise);
std::vector<std::int64_t> integers_attribute(const onnx::NodeProto& node, const char* name);  // empty: absent
std::string string_attribute(const onnx::NodeProto& node, const char* name, const std::string& otherwise);
// Errors: weights outside the file, or of another type.
std::expected<OnnxConstant, Error> constant_of(const onnx::TensorProto& tensor, const std::string& name);

}  // namespace finch::trainer
