#include "trainer/network_message.hpp"

#include <algorithm>
#include <format>
#include <variant>

namespace finch::trainer {
namespace {

namespace ir = finch::search;
using Message = protocol::NetworkGraph;

constexpr int kMostNodes = 10'000;
constexpr std::int64_t kMostExtent = 65'536;  // products of four stay within 64 bits

void write(Message::Node&, const ir::Input&) {}  // the message's own fields
void write(Message::Node& to, const ir::Normalize&) {
  to.mutable_normalize();
}
void write(Message::Node& to, const ir::Resize& from) {
  to.mutable_resize()->set_height(from.height);
  to.mutable_resize()->set_width(from.width);
}
void write(Message::Node& to, const ir::Convolution& from) {
  Message::Convolution& convolution = *to.mutable_convolution();
  convolution.set_out_channels(from.out_channels);
  convolution.set_kernel_size(from.kernel_size);
  convolution.set_stride(from.stride);
  convolution.set_padding(from.padding);
  convolution.set_groups(from.groups);
  convolution.set_bias(from.bias);
  convolution.set_batch_norm(from.batch_norm);
}
void write(Message::Node& to, const ir::Activation& from) {
  to.set_activation(ir::to_string(from.kind));
}
void write(Message::Node& to, const ir::Add&) {
  to.mutable_add();
}
void write(Message::Node& to, const ir::Scale&) {
  to.mutable_scale();
}
void write(Message::Node& to, const ir::ChannelSlice& from) {
  to.mutable_channel_slice()->set_begin(from.begin);
  to.mutable_channel_slice()->set_count(from.count);
}
void write(Message::Node& to, const ir::Concat&) {
  to.mutable_concat();
}
void write(Message::Node& to, const ir::ChannelShuffle& from) {
  to.set_channel_shuffle_groups(from.groups);
}
void write(Message::Node& to, const ir::AveragePool& from) {
  to.mutable_average_pool()->set_kernel_size(from.kernel_size);
  to.mutable_average_pool()->set_stride(from.stride);
  to.mutable_average_pool()->set_padding(from.padding);
}
void write(Message::Node& to, const ir::GlobalAveragePool&) {
  to.mutable_global_average_pool();
}
void write(Message::Node& to, const ir::Linear& from) {
  to.set_linear_out_features(from.out_features);
}

bool in_range(std::int64_t value) {
  return value >= 0 && value <= kMostExtent;
}

std::expected<ir::Operation, Error> operation_of(const Message::Node& node) {
  const auto checked = [&](ir::Operation operation,
                           std::initializer_list<std::int64_t> numbers) -> std::expected<ir::Operation, Error> {
    for (const std::int64_t number : numbers) {
      if (!in_range(number)) {
        return std::unexpected(
            Error{std::format("node '{}': {} is not between 0 and {}", node.name(), number, kMostExtent)});
      }
    }
    return operation;
  };
  switch (node.operation_case()) {
    case Message::Node::kNormalize:
      return ir::Normalize{};
    case Message::Node::kResize:
      return checked(ir::Resize{node.resize().height(), node.resize().width()},
                     {node.resize().height(), node.resize().width()});
    case Message::Node::kConvolution: {
      const Message::Convolution& from = node.convolution();
      return checked(ir::Convolution{.out_channels = from.out_channels(),
                                     .kernel_size = from.kernel_size(),
                                     .stride = from.stride(),
                                     .padding = from.padding(),
                                     .groups = from.groups(),
                                     .bias = from.bias(),
                                     .batch_norm = from.batch_norm()},
                     {from.out_channels(), from.kernel_size(), from.stride(), from.padding(), from.groups()});
    }
    case Message::Node::kActivation: {
      constexpr ir::ActivationKind kKinds[] = {ir::ActivationKind::relu,       ir::ActivationKind::relu6,
                                               ir::ActivationKind::hard_swish, ir::ActivationKind::hard_sigmoid,
                                               ir::ActivationKind::sigmoid,    ir::ActivationKind::silu};
      const auto* kind = std::ranges::find(kKinds, node.activation(), [](auto known) { return ir::to_string(known); });
      if (kind != std::end(kKinds)) return ir::Activation{*kind};
      return std::unexpected(
          Error{std::format("node '{}': there is no activation '{}'", node.name(), node.activation())});
    }
    case Message::Node::kAdd:
      return ir::Add{};
    case Message::Node::kScale:
      return ir::Scale{};
    case Message::Node::kChannelSlice:
      return checked(ir::ChannelSlice{node.channel_slice().begin(), node.channel_slice().count()},
                     {node.channel_slice().begin(), node.channel_slice().count()});
    case Message::Node::kConcat:
      return ir::Concat{};
    case Message::Node::kChannelShuffleGroups:
      return checked(ir::ChannelShuffle{node.channel_shuffle_groups()}, {node.channel_shuffle_groups()});
    case Message::Node::kAveragePool: {
      const Message::AveragePool& from = node.average_pool();
      return checked(ir::AveragePool{from.kernel_size(), from.stride(), from.padding()},
                     {from.kernel_size(), from.stride(), from.padding()});
    }
    case Message::Node::kGlobalAveragePool:
      return ir::GlobalAveragePool{};
    case Message::Node::kLinearOutFeatures:
      return checked(ir::Linear{node.linear_out_features()}, {node.linear_out_features()});
    case Message::Node::OPERATION_NOT_SET:
      break;
  }
  return std::unexpected(Error{std::format("node '{}' says no operation that this Finch knows", node.name())});
}

}  // namespace

protocol::NetworkGraph network_message(const ir::Network& network) {
  Message message;
  message.set_channels(network.input_shape().channels);
  message.set_height(network.input_shape().height);
  message.set_width(network.input_shape().width);
  for (std::size_t i = 1; i < network.nodes.size(); ++i) {
    const ir::Node& from = network.nodes[i];
    Message::Node& to = *message.add_nodes();
    to.set_name(from.name);
    to.mutable_inputs()->Add(from.inputs.begin(), from.inputs.end());
    std::visit([&](const auto& operation) { write(to, operation); }, from.operation);
  }
  return message;
}

std::expected<ir::Network, Error> network_of(const protocol::NetworkGraph& message) {
  if (message.nodes_size() < 1 || message.nodes_size() > kMostNodes) {
    return std::unexpected(
        Error{std::format("a network of {} nodes; it must have 1 to {}", message.nodes_size(), kMostNodes)});
  }
  if (!in_range(message.channels()) || !in_range(message.height()) || !in_range(message.width()))
    return std::unexpected(Error{std::format("a network for images of more than {} pixels a side", kMostExtent)});
  ir::NetworkBuilder builder({message.channels(), message.height(), message.width()});
  for (const Message::Node& node : message.nodes()) {
    if (node.name().find('/') != std::string::npos)
      return std::unexpected(Error{std::format("node '{}': a name holds no '/'", node.name())});
    auto operation = operation_of(node);
    if (!operation) return std::unexpected(operation.error());
    const std::int32_t index =
        builder.add(node.name(), std::move(*operation), {node.inputs().begin(), node.inputs().end()});
    const ir::TensorShape& shape = builder.shape(index);
    if (!in_range(shape.channels) || !in_range(shape.height) || !in_range(shape.width)) {
      return std::unexpected(
          Error{std::format("node '{}': more than {} channels or pixels a side", node.name(), kMostExtent)});
    }
  }
  auto network = builder.finish();
  if (!network) return std::unexpected(Error{network.error().message});
  return std::move(*network);
}

}  // namespace finch::trainer
