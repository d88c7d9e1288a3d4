#include "trainer/onnx_writer.hpp"

#include <utility>

#include "trainer/onnx_graph.hpp"

namespace finch::trainer {
namespace {

using Edge = OnnxGraph::Edge;

// One edge a node, named as the node and of its shape: [N, C, H, W] throughout.
class FloatWriter {
 public:
  FloatWriter(const search::Network& network, const NetworkWeights& weights, BatchDimension batch)
      : network_(network), weights_(weights), graph_(batch) {}

  std::expected<std::string, Error> write(const OnnxMetadata& metadata) {
    const OnnxGraph::Dimensions logits_dimensions = {OnnxGraph::kBatch, network_.output_shape().channels};
    for (std::size_t i = 0; i < network_.nodes.size(); ++i) {
      const search::Node& node = network_.nodes[i];
      const bool last = i + 1 == network_.nodes.size();
      if (last && std::holds_alternative<search::Linear>(node.operation)) {
        return graph_.finish(classifier(i), logits_dimensions, metadata);
      }
      edges_.push_back(std::visit([&](const auto& operation) { return append(i, operation); }, node.operation));
      graph_.expect(edges_.back(), {OnnxGraph::kBatch, node.shape.channels, node.shape.height, node.shape.width});
    }
    return graph_.finish(graph_.flatten(kLogits, edges_.back()), logits_dimensions, metadata);
  }

 private:
  static constexpr const char* kLogits = "logits";

  const search::Node& node(std::size_t i) const { return network_.nodes[i]; }
  const Edge& input(std::size_t i, std::size_t which = 0) const {
    return edges_[static_cast<std::size_t>(node(i).inputs[which])];
  }
  const search::TensorShape& input_shape(std::size_t i) const {
    return network_.nodes[static_cast<std::size_t>(node(i).inputs[0])].shape;
  }
  const LayerWeights& layer(std::size_t i) const { return weights_.layers.at(static_cast<std::int32_t>(i)); }

  Edge append(std::size_t i, const search::Input& operation) { return graph_.input(node(i).name, operation.shape); }

  // Stays apart from the convolution that follows: its padding is a normalised zero, which no bias can stand for.
  Edge append(std::size_t i, const search::Normalize&) {
    const std::string& name = node(i).name;
    std::vector<float> factor, offset;
    for (std::size_t c = 0; c < weights_.mean.size(); ++c) {
      factor.push_back(1 / weights_.stddev[c]);
      offset.push_back(-weights_.mean[c] / weights_.stddev[c]);
    }
    const OnnxGraph::Dimensions per_channel = {1, static_cast<std::int64_t>(factor.size()), 1, 1};
    const Edge scaled = graph_.mul(name + ".scaled", input(i), graph_.constant(name + ".factor", factor, per_channel));
    return graph_.add(name, scaled, graph_.constant(name + ".offset", offset, per_channel));
  }

  Edge append(std::size_t i, const search::Resize&) {
    return graph_.resize(node(i).name, input(i), input_shape(i), node(i).shape);
  }

  Edge append(std::size_t i, const search::Convolution& operation) {
    const std::string& name = node(i).name;
    const Edge weight = graph_.constant(name + ".weight", layer(i).weight,
                                        {operation.out_channels, input_shape(i).channels / operation.groups,
                                         operation.kernel_size, operation.kernel_size});
    return graph_.conv(name, input(i), weight, graph_.constant(name + ".bias", layer(i).bias, {operation.out_channels}),
                       operation);
  }

  Edge append(std::size_t i, const search::Activation& operation) {
    const std::string& name = node(i).name;
    switch (operation.kind) {
      case search::ActivationKind::relu:
        return graph_.relu(name, input(i));
      case search::ActivationKind::relu6:
        return graph_.clip(name, input(i), 0, 6);
      case search::ActivationKind::hard_swish:
        return graph_.hard_swish(name, input(i));
      case search::ActivationKind::hard_sigmoid:
        return graph_.hard_sigmoid(name, input(i));
      case search::ActivationKind::sigmoid:
        return graph_.sigmoid(name, input(i));
      case search::ActivationKind::silu:
        return graph_.mul(name, input(i), graph_.sigmoid(name + ".gate", input(i)));
    }
    std::unreachable();
  }

  Edge append(std::size_t i, const search::Add&) { return graph_.add(node(i).name, input(i), input(i, 1)); }
  Edge append(std::size_t i, const search::Scale&) { return graph_.mul(node(i).name, input(i), input(i, 1)); }
  Edge append(std::size_t i, const search::ChannelSlice& operation) {
    return graph_.slice_channels(node(i).name, input(i), operation);
  }
  Edge append(std::size_t i, const search::Concat&) {
    std::vector<Edge> parts;
    for (std::size_t which = 0; which < node(i).inputs.size(); ++which) parts.push_back(input(i, which));
    return graph_.concat(node(i).name, parts);
  }
  Edge append(std::size_t i, const search::ChannelShuffle& operation) {
    return graph_.shuffle_channels(node(i).name, input(i), node(i).shape, operation.groups);
  }
  Edge append(std::size_t i, const search::AveragePool& operation) {
    return graph_.average_pool(node(i).name, input(i), operation);
  }
  Edge append(std::size_t i, const search::GlobalAveragePool&) {
    return graph_.global_average_pool(node(i).name, input(i));
  }
  Edge append(std::size_t i, const search::Linear& operation) {
    return append(i, search::Convolution{.out_channels = operation.out_features});
  }

  Edge classifier(std::size_t i) {
    const std::string& name = node(i).name;
    const auto in = static_cast<std::size_t>(input_shape(i).channels);
    const auto out = static_cast<std::size_t>(node(i).shape.channels);
    std::vector<float> transposed(in * out);
    for (std::size_t o = 0; o < out; ++o) {
      for (std::size_t c = 0; c < in; ++c) transposed[c * out + o] = layer(i).weight[o * in + c];
    }
    const Edge weight =
        graph_.constant(name + ".weight", transposed, {input_shape(i).channels, node(i).shape.channels});
    const Edge bias = graph_.constant(name + ".bias", layer(i).bias, {node(i).shape.channels});
    return graph_.gemm(kLogits, graph_.flatten(name + ".flat", input(i)), weight, bias);
  }

  const search::Network& network_;
  const NetworkWeights& weights_;
  OnnxGraph graph_;
  std::vector<Edge> edges_;  // by node
};

}  // namespace

std::expected<std::string, Error> write_onnx(const search::Network& network, const NetworkWeights& weights,
                                             const OnnxMetadata& metadata, BatchDimension batch) {
  if (auto checked = check_weights(network, weights); !checked) return std::unexpected(checked.error());
  return FloatWriter(network, weights, batch).write(metadata);
}

}  // namespace finch::trainer
