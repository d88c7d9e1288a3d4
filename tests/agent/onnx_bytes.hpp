// Writes ONNX files by hand, field by field, so that tests can make those that no exporter would make.
// Field numbers: onnx.proto of ONNX 1.17. Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace finch::agent::onnx_bytes {

inline std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7U) bytes += static_cast<char>(value | 0x80U);
  return bytes + static_cast<char>(value);
}

inline std::string number(std::uint32_t field, std::int64_t value) {
  return varint(field << 3U) + varint(static_cast<std::uint64_t>(value));
}

inline std::string bytes(std::uint32_t field, std::string_view value) {
  return varint(field << 3U | 2U) + varint(value.size()) + std::string(value);
}

enum Type { kFloat = 1, kInt32 = 6, kInt64 = 7, kBool = 9 };
using Shape = std::vector<std::int64_t>;

inline std::string value_info(std::uint32_t field, std::string_view name, Type type, const Shape& shape) {
  std::string extents;
  for (const std::int64_t extent : shape) extents += bytes(1, number(1, extent));
  return bytes(field, bytes(1, name) + bytes(2, bytes(1, number(1, type) + bytes(2, extents))));
}
inline std::string input(std::string_view name, Type type, const Shape& shape) {
  return value_info(11, name, type, shape);
}
inline std::string output(std::string_view name, Type type, const Shape& shape) {
  return value_info(12, name, type, shape);
}

// `more`: further fields of the TensorProto.
inline std::string tensor(std::string_view name, Type type, const Shape& shape, std::string_view raw,
                          std::string_view more = {}) {
  std::string fields;
  for (const std::int64_t extent : shape) fields += number(1, extent);
  fields += number(2, type) + bytes(8, name) + std::string(more);
  if (!raw.empty()) fields += bytes(9, raw);
  return fields;
}
inline std::string initializer(const std::string& tensor_fields) {
  return bytes(5, tensor_fields);
}

inline std::string node(std::string_view op, const std::vector<std::string>& inputs,
                        const std::vector<std::string>& outputs, std::string_view more = {}) {
  std::string fields;
  for (const std::string& name : inputs) fields += bytes(1, name);
  for (const std::string& name : outputs) fields += bytes(2, name);
  return bytes(1, fields + bytes(4, op) + std::string(more));
}
inline std::string graph_attribute(std::string_view name, std::string_view graph) {
  return bytes(5, bytes(1, name) + bytes(6, graph) + number(20, 5));
}
inline std::string named_graph(std::string_view name, const std::string& fields) {
  return fields + bytes(2, name);
}

inline std::string model(const std::string& graph_fields, std::int64_t opset = 13) {
  return number(1, 8) + bytes(7, named_graph("g", graph_fields)) + bytes(8, number(2, opset));
}

inline std::string raw_int64(const std::vector<std::int64_t>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(std::int64_t)};
}

}  // namespace finch::agent::onnx_bytes
