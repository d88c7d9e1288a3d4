#include "trainer/onnx_writer.hpp"

#include "trainer/check_weights.hpp"
#include "trainer/float_operators.hpp"
#include "trainer/onnx_graph.hpp"

namespace finch::trainer {

std::expected<std::string, Error> write_onnx(const search::Network& network, const NetworkWeights& weights,
                                             const OnnxMetadata& metadata, BatchDimension batch) {
  if (auto checked = check_weights(network, weights); !checked) return std::unexpected(checked.error());
  constexpr const char* kLogits = "logits";
  const OnnxGraph::Dimensions logits_dimensions = {OnnxGraph::kBatch, network.output_shape().channels};
  OnnxGraph graph(batch);
  FloatOperators operators(graph, network, weights);
  std::vector<OnnxGraph::Edge> edges;  // by node
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    const search::Node& node = network.nodes[i];
    std::vector<OnnxGraph::Edge> inputs;
    for (const std::int32_t input : node.inputs) inputs.push_back(edges[static_cast<std::size_t>(input)]);
    if (i + 1 == network.nodes.size() && std::holds_alternative<search::Linear>(node.operation)) {
      return graph.finish(operators.append_classifier(i, inputs[0], kLogits), logits_dimensions, metadata);
    }
    edges.push_back(operators.append(i, inputs));
    graph.expect(edges.back(), {OnnxGraph::kBatch, node.shape.channels, node.shape.height, node.shape.width});
  }
  return graph.finish(graph.flatten(kLogits, edges.back()), logits_dimensions, metadata);
}

}  // namespace finch::trainer
