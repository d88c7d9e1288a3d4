#include <algorithm>
#include <cmath>
#include <format>

#include "trainer/onnx_importer.hpp"

namespace finch::trainer {
namespace {

namespace ir = finch::search;

constexpr float kBatchNormEpsilon = 1e-5F;  // NetworkModule's

// "padding" of a window that is square and padded alike on all sides.
struct Window {
  std::int64_t kernel_size = 1, stride = 1, padding = 0;
};

std::expected<Window, std::string> window_of(const onnx::NodeProto& node, std::int64_t height, std::int64_t width) {
  const auto values = [&](const char* name, std::vector<std::int64_t> otherwise) {
    auto found = integers_attribute(node, name);
    return found.empty() ? otherwise : found;
  };
  const auto strides = values("strides", {1, 1});
  const auto dilations = values("dilations", {1, 1});
  auto pads = values("pads", {0, 0, 0, 0});
  const std::string automatic = string_attribute(node, "auto_pad", "NOTSET");
  if (height != width) return std::unexpected(std::format("its kernel of {} x {} is not square", height, width));
  if (strides.size() != 2 || strides[0] != strides[1]) return std::unexpected("its strides differ");
  if (std::ranges::any_of(dilations, [](std::int64_t value) { return value != 1; }))
    return std::unexpected("it is dilated");
  if (automatic.starts_with("SAME")) {
    if (height % 2 == 0 || strides[0] != 1)
      return std::unexpected("its automatic padding differs from side to side; export it with explicit pads");
    pads = {height / 2, height / 2, height / 2, height / 2};
  }
  if (pads.size() != 4 || std::ranges::any_of(pads, [&](std::int64_t pad) { return pad != pads[0] || pad < 0; }))
    return std::unexpected("its padding differs from side to side");
  return Window{height, strides[0], pads[0]};
}

}  // namespace

OnnxImporter::Step OnnxImporter::convolution(const onnx::NodeProto& node) {
  const auto weight = read_constant(node, 1);
  if (!weight) return std::unexpected(weight.error());
  const OnnxConstant& kernel = **weight;
  if (kernel.dims.size() != 4 || kernel.floats.empty()) return refuse(node, "its kernel is not of two dimensions");
  const auto window = window_of(node, kernel.dims[2], kernel.dims[3]);
  if (!window) return refuse(node, window.error());
  const auto x = read_maps(node, 0);
  if (!x) return std::unexpected(x.error());
  ir::Convolution operation{.out_channels = kernel.dims[0],
                            .kernel_size = window->kernel_size,
                            .stride = window->stride,
                            .padding = window->padding,
                            .groups = integer_attribute(node, "group", 1),
                            .bias = node.input_size() > 2 && !node.input(2).empty(),
                            .batch_norm = false};
  if (kernel.dims[1] * operation.groups != builder_.shape(x->node).channels)
    return refuse(node, "its weights do not fit its input's channels");
  const std::string name = name_of(node, 1);
  imported_.tensors[name + ".weight"] = kernel.floats;
  if (operation.bias) {
    const auto bias = read_constant(node, 2);
    if (!bias) return std::unexpected(bias.error());
    if ((*bias)->floats.size() != static_cast<std::size_t>(operation.out_channels))
      return refuse(node, "its bias has not one value an output channel");
    imported_.tensors[name + ".bias"] = (*bias)->floats;
  }
  const onnx::NodeProto* last = &node;
  const onnx::NodeProto* reader = reading_.sole_reader(node.output(0));
  if (reader != nullptr && reader->op_type() == "BatchNormalization") {
    batch_norm(*reader, name, operation);
    if (operation.batch_norm) last = reader;
  }
  give(*last, Tensor{add(name, operation, {x->node})});
  return {};
}

// Left alone, to be refused by name, where it is not one of the usual kind.
void OnnxImporter::batch_norm(const onnx::NodeProto& node, const std::string& name, ir::Convolution& operation) {
  const auto channels = static_cast<std::size_t>(operation.out_channels);
  constexpr const char* kTensors[] = {"scale", "shift", "running_mean", "running_var"};
  std::vector<std::vector<float>> values;
  for (int i = 0; i < 4; ++i) {
    const auto constant = read_constant(node, i + 1);
    if (!constant || (*constant)->floats.size() != channels) return;
    values.push_back((*constant)->floats);
  }
  // Another epsilon is made up for by the variance, or by the scale where that would have to be negative.
  const float epsilon = float_attribute(node, "epsilon", 1e-5F);
  for (std::size_t c = 0; c < channels && epsilon != kBatchNormEpsilon; ++c) {
    const float whole = values[3][c] + epsilon;
    values[3][c] = std::max(0.0F, whole - kBatchNormEpsilon);
    values[0][c] *= std::sqrt((values[3][c] + kBatchNormEpsilon) / whole);
  }
  for (std::size_t i = 0; i < values.size(); ++i) imported_.tensors[name + "." + kTensors[i]] = std::move(values[i]);
  operation.batch_norm = true;
  absorbed_.insert(&node);
}

OnnxImporter::Step OnnxImporter::fully_connected(const onnx::NodeProto& node) {
  const auto weight = read_constant(node, 1);
  if (!weight) return std::unexpected(weight.error());
  const bool gemm = node.op_type() == "Gemm";
  const bool plain = !gemm || (float_attribute(node, "alpha", 1) == 1 && float_attribute(node, "beta", 1) == 1 &&
                               integer_attribute(node, "transA", 0) == 0);
  if (!plain) return refuse(node, "only alpha = beta = 1 and transA = 0 can be read");
  const OnnxConstant& matrix = **weight;
  if (matrix.dims.size() != 2 || matrix.floats.empty()) return refuse(node, "its weights are no matrix");
  const auto x = read(node, 0);
  if (!x) return std::unexpected(x.error());
  const ir::TensorShape in = builder_.shape(x->node);
  const bool out_first = gemm && integer_attribute(node, "transB", 0) != 0;
  const auto outputs = static_cast<std::size_t>(matrix.dims[out_first ? 0 : 1]);
  const auto inputs = static_cast<std::size_t>(matrix.dims[out_first ? 1 : 0]);
  if (!x->flat || inputs != static_cast<std::size_t>(in.elements()))
    return refuse(node, "it does not read a flattened tensor of as many values as its weights have");

  std::vector<float> values = matrix.floats;
  for (std::size_t o = 0; o < outputs && !out_first; ++o)
    for (std::size_t i = 0; i < inputs; ++i) values[o * inputs + i] = matrix.floats[i * outputs + o];
  std::vector<float> bias(outputs, 0);
  const onnx::NodeProto* last = &node;
  const auto take_bias = [&](const OnnxConstant* constant) {
    if (constant == nullptr || constant->floats.size() != outputs) return false;
    bias = constant->floats;
    return true;
  };
  if (gemm && node.input_size() > 2 && !take_bias(reading_.constant(node.input(2))))
    return refuse(node, "its bias has not one value an output");
  const onnx::NodeProto* reader = reading_.sole_reader(node.output(0));
  if (!gemm && reader != nullptr && reader->op_type() == "Add" && reader->input_size() == 2) {
    const int other = reader->input(0) == node.output(0) ? 1 : 0;
    if (take_bias(reading_.constant(reader->input(other)))) {
      absorbed_.insert(reader);
      last = reader;
    }
  }
  const std::string name = name_of(node, 1);
  imported_.tensors[name + ".weight"] = std::move(values);
  imported_.tensors[name + ".bias"] = std::move(bias);
  ir::Operation operation = ir::Linear{static_cast<std::int64_t>(outputs)};
  if (in.height != 1 || in.width != 1) {
    // A window over the whole image, its values in the order in which they were flattened.
    if (in.height != in.width) return refuse(node, "it reads a flattened image that is not square");
    operation = ir::Convolution{.out_channels = static_cast<std::int64_t>(outputs),
                                .kernel_size = in.height,
                                .bias = true,
                                .batch_norm = false};
  }
  give(*last, Tensor{add(name, std::move(operation), {x->node}), true});
  return {};
}

OnnxImporter::Step OnnxImporter::activation(const onnx::NodeProto& node) {
  ir::ActivationKind kind = node.op_type() == "Relu" ? ir::ActivationKind::relu : ir::ActivationKind::hard_swish;
  if (node.op_type() == "Clip") {
    const auto bound = [&](const char* name, int input, float otherwise) {
      if (input < node.input_size()) {
        const OnnxConstant* constant = reading_.constant(node.input(input));
        if (constant != nullptr && constant->floats.size() == 1) return constant->floats[0];
      }
      return float_attribute(node, name, otherwise);
    };
    constexpr float kNone = std::numeric_limits<float>::max();
    const float low = bound("min", 1, -kNone), high = bound("max", 2, kNone);
    if (low != 0 || (high != 6 && high < kNone)) return refuse(node, "only clipping to 0 .. 6 can be read");
    kind = high == 6 ? ir::ActivationKind::relu6 : ir::ActivationKind::relu;
  }
  const auto x = read(node, 0);
  if (!x) return std::unexpected(x.error());
  give(node, Tensor{add(name_of(node), ir::Activation{kind}, {x->node}), x->flat});
  return {};
}

// x * gate(x) is one activation where nobody else reads the gate.
OnnxImporter::Step OnnxImporter::gated(const onnx::NodeProto& node, ir::ActivationKind plain,
                                       ir::ActivationKind product) {
  const auto x = read(node, 0);
  if (!x) return std::unexpected(x.error());
  const onnx::NodeProto* last = &node;
  const onnx::NodeProto* reader = reading_.sole_reader(node.output(0));
  const bool multiplies = reader != nullptr && reader->op_type() == "Mul" && reader->input_size() == 2 &&
                          (reader->input(0) == node.input(0) || reader->input(1) == node.input(0));
  if (multiplies) {
    absorbed_.insert(reader);
    last = reader;
  }
  const ir::Activation operation{multiplies ? product : plain};
  give(*last, Tensor{add(name_of(*last), operation, {x->node}), x->flat});
  return {};
}

OnnxImporter::Step OnnxImporter::arithmetic(const onnx::NodeProto& node) {
  if (node.input_size() != 2) return refuse(node, "it has not two inputs");
  for (int i = 0; i < 2; ++i) {
    const OnnxConstant* constant = reading_.constant(node.input(i));
    if (constant == nullptr) continue;
    const auto found = values_.find(node.input(1 - i));
    const bool ordered = i == 1 || node.op_type() == "Add" || node.op_type() == "Mul";
    if (found != values_.end() && std::holds_alternative<Image>(found->second) && ordered)
      return scale_image(node, std::get<Image>(found->second), *constant);
    return refuse(node, "arithmetic with constants is understood on the image alone, to normalise it");
  }
  if (node.op_type() == "Sub" || node.op_type() == "Div") return refuse(node, "Finch's networks have no such operator");
  const auto a = read(node, 0);
  if (!a) return std::unexpected(a.error());
  const auto b = read(node, 1);
  if (!b) return std::unexpected(b.error());
  if (a->flat != b->flat) return refuse(node, "one of its inputs is flattened");
  if (node.op_type() == "Add") {
    give(node, Tensor{add(name_of(node), ir::Add{}, {a->node, b->node}), a->flat});
    return {};
  }
  const auto is_gate = [&](const Tensor& tensor) {
    return builder_.shape(tensor.node).height == 1 && builder_.shape(tensor.node).width == 1;
  };
  if (!is_gate(*a) && !is_gate(*b))
    return refuse(node, "it multiplies two images; a gate of one value a channel can be read");
  const bool second = is_gate(*b);
  give(node,
       Tensor{add(name_of(node), ir::Scale{}, {second ? a->node : b->node, second ? b->node : a->node}), a->flat});
  return {};
}

OnnxImporter::Step OnnxImporter::scale_image(const onnx::NodeProto& node, Image image, const OnnxConstant& constant) {
  const auto channels = static_cast<std::size_t>(builder_.shape(0).channels);
  // A scalar, or one value a channel: [C, 1, 1] behind any number of ones.
  const std::size_t count = constant.floats.size();
  const bool per_channel = count == channels && constant.dims.size() >= 3 &&
                           constant.dims[constant.dims.size() - 3] == static_cast<std::int64_t>(channels);
  if (count != 1 && !per_channel) return refuse(node, "it normalises by neither one value nor one a channel");
  image.factor.resize(channels, 1);
  image.offset.resize(channels, 0);
  for (std::size_t c = 0; c < channels; ++c) {
    const float value = constant.floats[count == 1 ? 0 : c];
    if (node.op_type() == "Add") image.offset[c] += value;
    if (node.op_type() == "Sub") image.offset[c] -= value;
    const float factor = node.op_type() == "Mul" ? value : node.op_type() == "Div" ? 1 / value : 1;
    image.factor[c] *= factor;
    image.offset[c] *= factor;
  }
  give(node, std::move(image));
  return {};
}

OnnxImporter::Step OnnxImporter::average_pool(const onnx::NodeProto& node) {
  const auto kernel = integers_attribute(node, "kernel_shape");
  if (kernel.size() != 2) return refuse(node, "its window is not of two dimensions");
  const auto window = window_of(node, kernel[0], kernel[1]);
  if (!window) return refuse(node, window.error());
  if (integer_attribute(node, "ceil_mode", 0) != 0) return refuse(node, "ceil_mode cannot be read");
  if (window->padding > 0 && integer_attribute(node, "count_include_pad", 0) != 0)
    return refuse(node, "padding that counts cannot be read");
  const auto x = read_maps(node, 0);
  if (!x) return std::unexpected(x.error());
  const ir::AveragePool operation{window->kernel_size, window->stride, window->padding};
  give(node, Tensor{add(name_of(node), operation, {x->node})});
  return {};
}

OnnxImporter::Step OnnxImporter::mean(const onnx::NodeProto& node) {
  bool flat = false;
  if (node.op_type() == "ReduceMean") {
    auto axes = setting(node, "axes", 1);
    for (std::int64_t& axis : axes) axis += axis < 0 ? 4 : 0;
    std::ranges::sort(axes);
    if (axes != std::vector<std::int64_t>{2, 3}) return refuse(node, "only the mean over height and width can be read");
    flat = integer_attribute(node, "keepdims", 1) == 0;
  }
  const auto x = read_maps(node, 0);
  if (!x) return std::unexpected(x.error());
  give(node, Tensor{add(name_of(node), ir::GlobalAveragePool{}, {x->node}), flat});
  return {};
}

}  // namespace finch::trainer
