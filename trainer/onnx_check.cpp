#include "trainer/onnx_check.hpp"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <format>
#include <set>
#include <vector>

namespace finch::trainer {
namespace {

constexpr int kMostBytes = 2'000'000'000;  // Protobuf's limit is 2 GiB

std::unexpected<Error> fail(std::string message) {
  return std::unexpected(Error{std::move(message)});
}

std::string shape_text(const onnx::ValueInfoProto& value) {
  std::string text;
  for (const auto& extent : value.type().tensor_type().shape().dim())
    text += (text.empty() ? "" : ", ") + (extent.has_dim_value() ? std::to_string(extent.dim_value()) : "?");
  return "[" + text + "]";
}

// `wanted`: 0 where anything fits.
std::expected<void, Error> check_end(const onnx::ValueInfoProto& value, const char* name,
                                     const std::vector<std::int64_t>& wanted) {
  const auto& type = value.type().tensor_type();
  bool fits = value.name() == name && type.elem_type() == onnx::TensorProto::FLOAT &&
              type.shape().dim_size() == static_cast<int>(wanted.size());
  std::string text;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    text += (i == 0 ? "" : ", ") + (wanted[i] == 0 ? std::string("N") : std::to_string(wanted[i]));
    if (!fits || wanted[i] == 0) continue;
    const auto& extent = type.shape().dim(static_cast<int>(i));
    fits = !extent.has_dim_value() || extent.dim_value() == wanted[i];
  }
  if (fits) return {};
  return fail(std::format("it has '{}' {}{} where float32 '{}' [{}] is expected", value.name(), shape_text(value),
                          type.elem_type() == onnx::TensorProto::FLOAT ? "" : ", not float32", name, text));
}

bool finite(const onnx::TensorProto& tensor) {
  if (tensor.data_type() != onnx::TensorProto::FLOAT) return true;
  const auto is_finite = [](float value) { return std::isfinite(value); };
  if (!std::ranges::all_of(tensor.float_data(), is_finite)) return false;
  std::vector<float> values(tensor.raw_data().size() / sizeof(float));
  std::memcpy(values.data(), tensor.raw_data().data(), values.size() * sizeof(float));
  return std::ranges::all_of(values, is_finite);
}

}  // namespace

std::expected<void, Error> check_classifier(std::string_view bytes, const search::TensorShape& image,
                                            std::int64_t classes) {
  onnx::ModelProto model;
  if (bytes.size() > kMostBytes || !model.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      model.graph().node().empty())
    return fail("it is no ONNX model, or a damaged one");
  const onnx::GraphProto& graph = model.graph();
  std::set<std::string> weights;
  for (const onnx::TensorProto& tensor : graph.initializer()) {
    weights.insert(tensor.name());
    if (tensor.data_location() == onnx::TensorProto::EXTERNAL)
      return fail(std::format("its weights '{}' lie outside the file; save it as one file", tensor.name()));
    if (!finite(tensor)) return fail(std::format("its weights '{}' are not finite", tensor.name()));
  }
  std::vector<const onnx::ValueInfoProto*> inputs;
  for (const onnx::ValueInfoProto& input : graph.input()) {
    if (!weights.contains(input.name())) inputs.push_back(&input);  // old files list their weights too
  }
  if (inputs.size() != 1 || graph.output_size() != 1)
    return fail(
        std::format("it has {} inputs and {} outputs; one of each is expected", inputs.size(), graph.output_size()));
  return check_end(*inputs.front(), "image", {0, image.channels, image.height, image.width}).and_then([&] {
    return check_end(graph.output(0), "logits", {0, classes});
  });
}

}  // namespace finch::trainer
