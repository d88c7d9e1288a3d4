#include "trainer/float_operators.hpp"

#include <algorithm>
#include <utility>
#include <variant>

namespace finch::trainer {
namespace {

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

}  // namespace

FloatOperators::Edge FloatOperators::append(std::size_t i, const std::vector<Edge>& inputs) {
  const search::Node& node = network_.nodes[i];
  const std::string& name = node.name;
  return std::visit(
      Overloaded{[&](const search::Input& op) { return graph_.input(name, op.shape); },
                 [&](const search::Normalize&) { return normalize(name, inputs[0]); },
                 [&](const search::Resize&) { return graph_.resize(name, inputs[0], input_shape(i), node.shape); },
                 [&](const search::Convolution& op) { return convolve(i, inputs[0], op); },
                 [&](const search::Linear& op) { return convolve(i, inputs[0], {.out_channels = op.out_features}); },
                 [&](const search::Activation& op) { return activate(name, inputs[0], op.kind); },
                 [&](const search::Add&) { return graph_.add(name, inputs[0], inputs[1]); },
                 [&](const search::Scale&) { return graph_.mul(name, inputs[0], inputs[1]); },
                 [&](const search::ChannelSlice& op) { return graph_.slice_channels(name, inputs[0], op); },
                 [&](const search::Concat&) { return graph_.concat(name, inputs); },
                 [&](const search::ChannelShuffle& op) {
                   return graph_.shuffle_channels(name, inputs[0], node.shape, op.groups);
                 },
                 [&](const search::AveragePool& op) { return graph_.average_pool(name, inputs[0], op); },
                 [&](const search::GlobalAveragePool&) { return graph_.global_average_pool(name, inputs[0]); }},
      node.operation);
}

// Stays apart from the convolution that follows: its padding is a normalised zero, which no bias can stand for.
FloatOperators::Edge FloatOperators::normalize(const std::string& name, const Edge& x) {
  std::vector<float> factor, offset;
  for (std::size_t c = 0; c < weights_.mean.size(); ++c) {
    factor.push_back(1 / weights_.stddev[c]);
    offset.push_back(-weights_.mean[c] / weights_.stddev[c]);
  }
  const OnnxGraph::Dimensions per_channel = {1, static_cast<std::int64_t>(factor.size()), 1, 1};
  const bool scales = std::ranges::any_of(factor, [](float each) { return each != 1; });
  const Edge scaled =
      scales ? graph_.mul(name + ".scaled", x, graph_.constant(name + ".factor", factor, per_channel)) : x;
  return graph_.add(name, scaled, graph_.constant(name + ".offset", offset, per_channel));
}

FloatOperators::Edge FloatOperators::convolve(std::size_t i, const Edge& x, const search::Convolution& operation) {
  const std::string& name = network_.nodes[i].name;
  const Edge weight = graph_.constant(name + ".weight", layer(i).weight,
                                      {operation.out_channels, input_shape(i).channels / operation.groups,
                                       operation.kernel_size, operation.kernel_size});
  return graph_.conv(name, x, weight, graph_.constant(name + ".bias", layer(i).bias, {operation.out_channels}),
                     operation);
}

FloatOperators::Edge FloatOperators::activate(const std::string& name, const Edge& x, search::ActivationKind kind) {
  switch (kind) {
    case search::ActivationKind::relu:
      return graph_.relu(name, x);
    case search::ActivationKind::relu6:
      return graph_.clip(name, x, 0.0F, 6.0F);
    case search::ActivationKind::hard_swish:
      return graph_.hard_swish(name, x);
    case search::ActivationKind::hard_sigmoid:
      return graph_.hard_sigmoid(name, x);
    case search::ActivationKind::sigmoid:
      return graph_.sigmoid(name, x);
    case search::ActivationKind::silu:
      return graph_.mul(name, x, graph_.sigmoid(name + ".gate", x));
  }
  std::unreachable();
}

FloatOperators::Edge FloatOperators::append_classifier(std::size_t i, const Edge& input, const char* logits) {
  const std::string& name = network_.nodes[i].name;
  const auto in = static_cast<std::size_t>(input_shape(i).channels);
  const auto out = static_cast<std::size_t>(network_.nodes[i].shape.channels);
  std::vector<float> transposed(in * out);
  for (std::size_t o = 0; o < out; ++o) {
    for (std::size_t c = 0; c < in; ++c) transposed[c * out + o] = layer(i).weight[o * in + c];
  }
  const Edge weight =
      graph_.constant(name + ".weight", transposed, {input_shape(i).channels, network_.nodes[i].shape.channels});
  const Edge bias = graph_.constant(name + ".bias", layer(i).bias, {network_.nodes[i].shape.channels});
  return graph_.gemm(logits, graph_.flatten(name + ".flat", input), weight, bias);
}

}  // namespace finch::trainer
