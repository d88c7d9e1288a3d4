// All that makes two networks the same one, as text. Pure function.
#pragma once

#include <format>
#include <string>

#include "search/network.hpp"

namespace finch::search {

inline std::string fingerprint(const Network& network) {
  std::string text;
  for (const Node& node : network.nodes) {
    text += std::format("{} {} [{},{},{}]", node.name, operation_name(node.operation), node.shape.channels,
                        node.shape.height, node.shape.width);
    if (const auto* c = std::get_if<Convolution>(&node.operation)) {
      text += std::format(" k{} s{} p{} g{} {}{}", c->kernel_size, c->stride, c->padding, c->groups, c->bias,
                          c->batch_norm);
    }
    if (const auto* a = std::get_if<Activation>(&node.operation)) text += to_string(a->kind);
    if (const auto* s = std::get_if<ChannelSlice>(&node.operation)) text += std::format(" {}+{}", s->begin, s->count);
    if (const auto* s = std::get_if<ChannelShuffle>(&node.operation)) text += std::format(" g{}", s->groups);
    if (const auto* p = std::get_if<AveragePool>(&node.operation))
      text += std::format(" k{} s{} p{}", p->kernel_size, p->stride, p->padding);
    for (const std::int32_t input : node.inputs) text += std::format(" {}", input);
    text += '\n';
  }
  return text;
}

}  // namespace finch::search
