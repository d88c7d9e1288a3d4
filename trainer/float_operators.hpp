// A network's nodes as ONNX operators on floats. Not thread safe.
#pragma once

#include <cstddef>
#include <vector>

#include "search/network.hpp"
#include "trainer/network_weights.hpp"
#include "trainer/onnx_graph.hpp"

namespace finch::trainer {

// The arguments must outlive this.
class FloatOperators {
 public:
  using Edge = OnnxGraph::Edge;

  FloatOperators(OnnxGraph& graph, const search::Network& network, const NetworkWeights& weights)
      : graph_(graph), network_(network), weights_(weights) {}

  // Appends node i, which reads `inputs`; gives its output, named as the node and of its shape [N, C, H, W].
  Edge append(std::size_t i, const std::vector<Edge>& inputs);
  // The same of a linear layer that gives the logits [N, classes].
  Edge append_classifier(std::size_t i, const Edge& input, const char* logits);

 private:
  const search::TensorShape& input_shape(std::size_t i) const {
    return network_.nodes[static_cast<std::size_t>(network_.nodes[i].inputs[0])].shape;
  }
  const LayerWeights& layer(std::size_t i) const { return weights_.layers.at(static_cast<std::int32_t>(i)); }
  Edge normalize(const std::string& name, const Edge& x);
  Edge convolve(std::size_t i, const Edge& x, const search::Convolution& operation);
  Edge activate(const std::string& name, const Edge& x, search::ActivationKind kind);

  OnnxGraph& graph_;
  const search::Network& network_;
  const NetworkWeights& weights_;
};

}  // namespace finch::trainer
