#include <algorithm>
#include <cmath>
#include <format>
#include <numeric>

#include "trainer/onnx_importer.hpp"

namespace finch::trainer {
namespace {

namespace ir = finch::search;

using Integers = std::vector<std::int64_t>;

std::int64_t product(const Integers& values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{1}, std::multiplies{});
}

// What a Reshape with `target` makes of [N, ...], without N; nothing when N does not stay in front. -1 stands for what
// is left.
std::optional<Integers> reshaped(const Integers& target, std::int64_t elements) {
  if (target.empty() || target[0] < -1 || target[0] > 1) return std::nullopt;
  Integers rest(target.begin() + 1, target.end());
  const auto open = std::ranges::find(rest, -1);
  if (open != rest.end()) {
    if (target[0] == -1) return std::nullopt;
    *open = 1;
    const std::int64_t known = product(rest);
    if (known < 1 || elements % known != 0) return std::nullopt;
    *open = elements / known;
  }
  return product(rest) == elements ? std::optional(rest) : std::nullopt;
}

}  // namespace

// The batch's size counts as 0, which Reshape takes for "as it was".
bool OnnxImporter::fold_constant(const onnx::NodeProto& node) {
  const std::string& type = node.op_type();
  OnnxConstant result;
  if (type == "Constant") {
    if (const auto* tensor = attribute(node, "value")) {
      auto constant = constant_of(tensor->t(), node.output(0));
      if (!constant) return false;
      result = std::move(*constant);
    } else if (const auto* single = attribute(node, "value_int")) {
      result.integers = {single->i()};
    } else if (const auto* real = attribute(node, "value_float")) {
      result.floats = {real->f()};
    } else {
      result.integers = integers_attribute(node, "value_ints");
      result.dims = {std::ssize(result.integers)};
    }
  } else if (type == "Shape" && node.input_size() == 1) {
    const auto found = values_.find(node.input(0));
    if (found == values_.end()) return false;
    const auto* tensor = std::get_if<Tensor>(&found->second);
    if (std::holds_alternative<Groups>(found->second)) return false;
    const ir::TensorShape shape = builder_.shape(tensor == nullptr ? 0 : tensor->node);
    result.integers = {0, shape.channels, shape.height, shape.width};
    if (tensor != nullptr && tensor->flat) result.integers = {0, shape.elements()};
    result.dims = {std::ssize(result.integers)};
  } else {
    std::vector<const OnnxConstant*> inputs;
    for (const std::string& edge : node.input()) {
      inputs.push_back(edge.empty() ? nullptr : reading_.constant(edge));
      if (inputs.back() == nullptr && !edge.empty()) return false;
    }
    if (inputs.empty() || inputs[0] == nullptr) return false;
    result = *inputs[0];
    const bool two = inputs.size() == 2 && inputs[1] != nullptr;
    if (type == "Gather" && two && result.dims.size() == 1) {
      const Integers from = result.integers;
      result = {.dims = inputs[1]->dims, .floats = {}, .integers = {}};
      for (std::int64_t index : inputs[1]->integers) {
        index += index < 0 ? std::ssize(from) : 0;
        if (index < 0 || index >= std::ssize(from)) return false;
        result.integers.push_back(from[static_cast<std::size_t>(index)]);
      }
    } else if (type == "Concat") {
      for (std::size_t i = 1; i < inputs.size(); ++i)
        result.integers.insert(result.integers.end(), inputs[i]->integers.begin(), inputs[i]->integers.end());
      result.dims = {std::ssize(result.integers)};
    } else if ((type == "Mul" || type == "Div" || type == "Add" || type == "Sub") && two &&
               result.integers.size() == 1 && inputs[1]->integers.size() == 1) {
      std::int64_t& a = result.integers[0];
      const std::int64_t b = inputs[1]->integers[0];
      if (type == "Div" && b == 0) return false;
      a = type == "Mul" ? a * b : type == "Div" ? a / b : type == "Add" ? a + b : a - b;
    } else if (type != "Unsqueeze" && type != "Squeeze" && type != "Cast" && type != "Identity") {
      return false;
    }
  }
  reading_.add_constant(node.output(0), std::move(result));
  return true;
}

OnnxImporter::Step OnnxImporter::concat(const onnx::NodeProto& node) {
  const std::int64_t axis = integer_attribute(node, "axis", 1);
  if (axis != 1 && axis != -3) return refuse(node, "only channels can be joined");
  std::vector<std::int32_t> inputs;
  bool flat = false;
  for (int i = 0; i < node.input_size(); ++i) {
    const auto x = read(node, i);
    if (!x) return std::unexpected(x.error());
    if (i > 0 && x->flat != flat) return refuse(node, "some of its inputs are flattened");
    flat = x->flat;
    if (flat && builder_.shape(x->node).height != 1) return refuse(node, "it joins flattened images");
    inputs.push_back(x->node);
  }
  if (inputs.size() < 2) return refuse(node, "it joins a single tensor");
  give(node, Tensor{add(name_of(node), ir::Concat{}, std::move(inputs)), flat});
  return {};
}

OnnxImporter::Step OnnxImporter::split(const onnx::NodeProto& node) {
  if (integer_attribute(node, "axis", 0) != 1) return refuse(node, "only channels can be split");
  const auto x = read_maps(node, 0);
  if (!x) return std::unexpected(x.error());
  const std::int64_t channels = builder_.shape(x->node).channels;
  Integers sizes = setting(node, "split", 1);
  if (sizes.empty()) {
    const std::int64_t parts = node.output_size(), each = (channels + parts - 1) / parts;
    for (std::int64_t i = 0; i < parts; ++i) sizes.push_back(std::min(each, channels - i * each));
  }
  if (std::ssize(sizes) != node.output_size()) return refuse(node, "it has not as many sizes as outputs");
  const std::string name = name_of(node);
  std::int64_t begin = 0;
  for (int i = 0; i < node.output_size(); ++i) {
    const std::int64_t count = sizes[static_cast<std::size_t>(i)];
    if (reading_.is_read(node.output(i))) {
      std::string part = std::format("{}.part{}", name, i);
      while (!names_.insert(part).second) part += "_";
      values_[node.output(i)] = Tensor{add(part, ir::ChannelSlice{begin, count}, {x->node}), x->flat};
    }
    begin += count;
  }
  return {};
}

OnnxImporter::Step OnnxImporter::slice(const onnx::NodeProto& node) {
  const auto x = read_maps(node, 0);
  if (!x) return std::unexpected(x.error());
  const Integers starts = setting(node, "starts", 1), ends = setting(node, "ends", 2);
  const Integers axes = setting(node, "axes", 3), steps = setting(node, "steps", 4);
  const bool channels_only = axes == Integers{1} || axes == Integers{-3};
  if (!channels_only || starts.size() != 1 || ends.size() != 1 || (!steps.empty() && steps != Integers{1}))
    return refuse(node, "only a run of channels can be read");
  const std::int64_t channels = builder_.shape(x->node).channels;
  const auto place = [&](std::int64_t at) {
    return std::clamp(at < 0 ? at + channels : at, std::int64_t{0}, channels);
  };
  const std::int64_t begin = place(starts[0]), end = place(ends[0]);
  give(node, Tensor{add(name_of(node), ir::ChannelSlice{begin, end - begin}, {x->node}), x->flat});
  return {};
}

OnnxImporter::Step OnnxImporter::reshape(const onnx::NodeProto& node) {
  const auto value = values_.find(node.input(0));
  if (const auto* groups = value == values_.end() ? nullptr : std::get_if<Groups>(&value->second)) {
    const auto target = reshaped(setting(node, "shape", 1), builder_.shape(groups->node).elements());
    const ir::TensorShape shape = builder_.shape(groups->node);
    if (!groups->transposed || !target || *target != Integers{shape.channels, shape.height, shape.width})
      return refuse(node, "it does not end a channel shuffle");
    give(node, Tensor{add(name_of(node), ir::ChannelShuffle{groups->groups}, {groups->node})});
    return {};
  }
  const auto x = read(node, 0);
  if (!x) return std::unexpected(x.error());
  const ir::TensorShape shape = builder_.shape(x->node);
  const std::string& type = node.op_type();
  Integers target;
  if (type == "Reshape") {
    target = setting(node, "shape", 1);
  } else if (type == "Flatten") {
    if (integer_attribute(node, "axis", 1) != 1) return refuse(node, "only axis = 1 can be read");
    target = {0, -1};
  } else {
    Integers axes = setting(node, "axes", 1);
    for (std::int64_t& axis : axes) axis += axis < 0 ? 4 : 0;
    std::ranges::sort(axes);
    if (axes != Integers{2, 3} || shape.height != 1 || shape.width != 1)
      return refuse(node, "only height and width of 1 can be dropped or added");
    target = type == "Squeeze" ? Integers{0, shape.channels} : Integers{0, shape.channels, 1, 1};
  }
  const auto rest = reshaped(target, shape.elements());
  if (rest == Integers{shape.elements()}) {
    give(node, Tensor{x->node, true});
  } else if (rest == Integers{shape.channels, shape.height, shape.width}) {
    give(node, Tensor{x->node, false});
  } else if (rest && rest->size() == 4 && !x->flat && (*rest)[0] * (*rest)[1] == shape.channels &&
             (*rest)[2] == shape.height && (*rest)[3] == shape.width) {
    give(node, Groups{x->node, (*rest)[0]});
  } else {
    return refuse(node, "it neither flattens nor begins a channel shuffle");
  }
  return {};
}

OnnxImporter::Step OnnxImporter::transpose(const onnx::NodeProto& node) {
  const auto value = values_.find(node.input(0));
  const auto* groups = value == values_.end() ? nullptr : std::get_if<Groups>(&value->second);
  if (groups == nullptr || groups->transposed || integers_attribute(node, "perm") != Integers{0, 2, 1, 3, 4})
    return refuse(node, "only that of a channel shuffle can be read");
  give(node, Groups{groups->node, groups->groups, true});
  return {};
}

OnnxImporter::Step OnnxImporter::resize(const onnx::NodeProto& node) {
  if (string_attribute(node, "mode", "nearest") != "linear" ||
      string_attribute(node, "coordinate_transformation_mode", "half_pixel") != "half_pixel")
    return refuse(node, "only bilinear with half-pixel centres can be read");
  const auto x = read_maps(node, 0);
  if (!x) return std::unexpected(x.error());
  const ir::TensorShape shape = builder_.shape(x->node);
  ir::Resize operation;
  const auto floats = [&](int input) {
    const OnnxConstant* constant = input < node.input_size() ? reading_.constant(node.input(input)) : nullptr;
    return constant == nullptr ? std::vector<float>() : constant->floats;
  };
  const std::vector<float> scales = floats(2);
  const Integers sizes = setting(node, "sizes", 3);
  if (scales.size() == 4) {
    const auto scaled = [](std::int64_t size, float scale) {
      return static_cast<std::int64_t>(std::floor(static_cast<float>(size) * scale));
    };
    operation = {scaled(shape.height, scales[2]), scaled(shape.width, scales[3])};
  } else if (sizes.size() == 4) {
    operation = {sizes[2], sizes[3]};
  } else {
    return refuse(node, "its size is no constant");
  }
  give(node, Tensor{add(name_of(node), operation, {x->node})});
  return {};
}

OnnxImporter::Step OnnxImporter::pass_on(const onnx::NodeProto& node) {
  if (node.op_type().ends_with("Softmax")) {
    if (node.output(0) != reading_.output()) return refuse(node, "it is not at the end");
    imported_.notes.push_back(
        std::format("{} at the end is left out: Finch's models give logits, in the same order", node_text(node)));
  }
  const auto found = values_.find(node.input(0));
  if (found == values_.end()) return refuse(node, "its input is not computed from the image");
  give(node, found->second);
  return {};
}

}  // namespace finch::trainer
