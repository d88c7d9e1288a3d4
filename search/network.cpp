#include "search/network.hpp"

#include <format>
#include <type_traits>
#include <unordered_set>
#include <utility>

namespace finch::search {
namespace {

using Inferred = std::expected<TensorShape, std::string>;
using Shapes = std::vector<TensorShape>;

std::string text(const TensorShape& shape) {
  return std::format("[{}, {}, {}]", shape.channels, shape.height, shape.width);
}

Inferred infer(const Input&, const Shapes&) {
  return std::unexpected("a network has one input, its first node");
}

Inferred infer(const Normalize&, const Shapes& inputs) {
  return inputs[0];
}

Inferred infer(const Resize& operation, const Shapes& inputs) {
  if (operation.height < 1 || operation.width < 1) return std::unexpected("the size to resize to is empty");
  return TensorShape{inputs[0].channels, operation.height, operation.width};
}

// A square window of `operation` slid over the input.
template <typename Window>
Inferred slide(const TensorShape& in, std::int64_t out_channels, const Window& operation) {
  const auto size = [&](std::int64_t length) {
    const std::int64_t room = length + 2 * operation.padding - operation.kernel_size;
    return room < 0 ? 0 : room / operation.stride + 1;
  };
  const TensorShape out{out_channels, size(in.height), size(in.width)};
  if (out.height < 1 || out.width < 1) {
    return std::unexpected(std::format("a kernel of {} does not fit into {}", operation.kernel_size, text(in)));
  }
  return out;
}

Inferred infer(const Convolution& operation, const Shapes& inputs) {
  const TensorShape& in = inputs[0];
  if (operation.out_channels < 1 || operation.kernel_size < 1 || operation.stride < 1 || operation.padding < 0 ||
      operation.groups < 1) {
    return std::unexpected("channels, kernel size, stride and groups must be at least 1, padding at least 0");
  }
  if (in.channels % operation.groups != 0 || operation.out_channels % operation.groups != 0) {
    return std::unexpected(std::format("{} groups divide neither {} nor {} channels", operation.groups, in.channels,
                                       operation.out_channels));
  }
  return slide(in, operation.out_channels, operation);
}

Inferred infer(const Activation&, const Shapes& inputs) {
  return inputs[0];
}

Inferred infer(const Add&, const Shapes& inputs) {
  if (inputs[0] != inputs[1]) return std::unexpected("cannot add " + text(inputs[0]) + " and " + text(inputs[1]));
  return inputs[0];
}

Inferred infer(const Scale&, const Shapes& inputs) {
  if (inputs[1] != TensorShape{inputs[0].channels, 1, 1}) {
    return std::unexpected("cannot scale " + text(inputs[0]) + " by " + text(inputs[1]));
  }
  return inputs[0];
}

Inferred infer(const ChannelSlice& operation, const Shapes& inputs) {
  const TensorShape& in = inputs[0];
  if (operation.begin < 0 || operation.count < 1 || operation.begin + operation.count > in.channels) {
    return std::unexpected(
        std::format("{} channels from {} on are not in {}", operation.count, operation.begin, text(in)));
  }
  return TensorShape{operation.count, in.height, in.width};
}

Inferred infer(const Concat&, const Shapes& inputs) {
  TensorShape out = inputs[0];
  for (std::size_t i = 1; i < inputs.size(); ++i) {
    if (inputs[i].height != out.height || inputs[i].width != out.width) {
      return std::unexpected("cannot join " + text(inputs[0]) + " and " + text(inputs[i]) + " along the channels");
    }
    out.channels += inputs[i].channels;
  }
  return out;
}

Inferred infer(const ChannelShuffle& operation, const Shapes& inputs) {
  if (operation.groups < 1 || inputs[0].channels % operation.groups != 0) {
    return std::unexpected(std::format("{} groups do not divide {} channels", operation.groups, inputs[0].channels));
  }
  return inputs[0];
}

Inferred infer(const AveragePool& operation, const Shapes& inputs) {
  if (operation.kernel_size < 1 || operation.stride < 1 || operation.padding < 0 ||
      operation.padding >= operation.kernel_size) {
    return std::unexpected("kernel size and stride must be at least 1, padding less than the kernel size");
  }
  return slide(inputs[0], inputs[0].channels, operation);
}

Inferred infer(const GlobalAveragePool&, const Shapes& inputs) {
  return TensorShape{inputs[0].channels, 1, 1};
}

Inferred infer(const Linear& operation, const Shapes& inputs) {
  if (operation.out_features < 1) return std::unexpected("a fully connected layer needs at least one output");
  if (inputs[0].height != 1 || inputs[0].width != 1) {
    return std::unexpected("a fully connected layer takes [features, 1, 1], not " + text(inputs[0]));
  }
  return TensorShape{operation.out_features, 1, 1};
}

std::size_t arity(const Operation& operation) {
  if (std::holds_alternative<Input>(operation)) return 0;
  const bool joins = std::holds_alternative<Add>(operation) || std::holds_alternative<Scale>(operation) ||
                     std::holds_alternative<Concat>(operation);
  return joins ? 2 : 1;
}

}  // namespace

// The input node exists even when it is wrong, so that every index that add() returns is a valid one.
NetworkBuilder::NetworkBuilder(TensorShape input) {
  network_.nodes.push_back({.name = "image", .operation = Input{input}, .inputs = {}, .shape = input});
  if (input.channels < 1 || input.height < 1 || input.width < 1) error_ = "the input " + text(input) + " is empty";
}

std::int32_t NetworkBuilder::add(std::string name, Operation operation, std::vector<std::int32_t> inputs) {
  const auto index = static_cast<std::int32_t>(network_.nodes.size());
  if (!error_.empty()) return index - 1;
  Shapes shapes;
  for (const std::int32_t input : inputs) {
    if (input < 0 || input >= index) {
      error_ = std::format("node '{}': input {} is not an earlier node", name, input);
      return index - 1;
    }
    shapes.push_back(network_.nodes[static_cast<std::size_t>(input)].shape);
  }
  const bool open = std::holds_alternative<Concat>(operation);
  if (shapes.size() < arity(operation) || (!open && shapes.size() > arity(operation))) {
    error_ = std::format("node '{}': {} takes {}{} inputs, not {}", name, operation_name(operation), arity(operation),
                         open ? " or more" : "", shapes.size());
    return index - 1;
  }
  const Inferred shape = std::visit([&](const auto& op) { return infer(op, shapes); }, operation);
  if (!shape) {
    error_ = std::format("node '{}' ({}): {}", name, operation_name(operation), shape.error());
    return index - 1;
  }
  network_.nodes.push_back({std::move(name), std::move(operation), std::move(inputs), *shape});
  return index;
}

const TensorShape& NetworkBuilder::shape(std::int32_t node) const {
  return network_.nodes.at(static_cast<std::size_t>(node)).shape;
}

std::expected<Network, Error> NetworkBuilder::finish() {
  if (!error_.empty()) return std::unexpected(Error{error_});
  std::unordered_set<std::string> names;
  std::vector<bool> read(network_.nodes.size(), false);
  read.back() = true;
  for (const Node& node : network_.nodes) {
    if (node.name.empty()) return std::unexpected(Error{"a node has no name"});
    if (!names.insert(node.name).second) return std::unexpected(Error{"two nodes are named '" + node.name + "'"});
    for (const std::int32_t input : node.inputs) read[static_cast<std::size_t>(input)] = true;
  }
  for (std::size_t i = 0; i < read.size(); ++i) {
    // It would be paid for in the cost model and be absent from a runtime's optimised graph.
    if (!read[i]) return std::unexpected(Error{"nothing reads the node '" + network_.nodes[i].name + "'"});
  }
  const TensorShape& out = network_.output_shape();
  if (out.height != 1 || out.width != 1) {
    return std::unexpected(Error{"a network ends with [classes, 1, 1], not " + text(out)});
  }
  return std::move(network_);
}

const char* to_string(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::relu:
      return "relu";
    case ActivationKind::relu6:
      return "relu6";
    case ActivationKind::hard_swish:
      return "hard_swish";
    case ActivationKind::hard_sigmoid:
      return "hard_sigmoid";
    case ActivationKind::sigmoid:
      return "sigmoid";
    case ActivationKind::silu:
      return "silu";
  }
  return "?";
}

const char* operation_name(const Operation& operation) {
  static constexpr const char* kNames[] = {
      "input",         "normalize", "resize",          "convolution",  "activation",          "add",   "scale",
      "channel_slice", "concat",    "channel_shuffle", "average_pool", "global_average_pool", "linear"};
  static_assert(std::size(kNames) == std::variant_size_v<Operation>);
  return kNames[operation.index()];
}

}  // namespace finch::search
