#include <algorithm>
#include <cmath>
#include <format>
#include <limits>
#include <optional>

#include "trainer/onnx_graph.hpp"
#include "trainer/quantization.hpp"

// How runtimes get integer kernels from this: they look for an operator with a DequantizeLinear before each input and
// a QuantizeLinear behind its output and put one integer operator in the place of all. So activations have no operator
// of their own where the preceding QuantizeLinear can do their work by saturating: ReLU is a range that begins at zero,
// and the hard sigmoid is a range of [-3, 3] whose integers are then read as [0, 1].

namespace finch::trainer {
namespace {

using Edge = OnnxGraph::Edge;

// What a node has given: integers that stand for reals, or still the image's floats.
struct Value {
  Edge edge;
  std::optional<Quantization> quantization;
  bool to_normalize = false;  // floats that are still to be normalised, which their quantization can do
};

class QuantizedWriter {
 public:
  QuantizedWriter(const search::Network& network, const NetworkWeights& weights,
                  std::span<const ActivationRange> ranges, BatchDimension batch)
      : network_(network), weights_(weights), ranges_(ranges), graph_(batch), values_(network.nodes.size()) {}

  std::expected<std::string, Error> write(const OnnxMetadata& metadata) {
    const std::size_t last = network_.nodes.size() - 1;
    for (std::size_t i = 0; i < last; ++i) {
      // An activation that the node before has taken over has its value already.
      if (values_[i].edge.empty()) std::visit([&](const auto& operation) { append(i, operation); }, node(i).operation);
    }
    const OnnxGraph::Dimensions dimensions = {OnnxGraph::kBatch, network_.output_shape().channels};
    if (std::holds_alternative<search::Linear>(node(last).operation)) {
      return graph_.finish(classifier(last), dimensions, metadata);
    }
    std::visit([&](const auto& operation) { append(last, operation); }, node(last).operation);
    return graph_.finish(graph_.flatten(kLogits, dequantized(last, "logits")), dimensions, metadata);
  }

 private:
  static constexpr const char* kLogits = "logits";

  const search::Node& node(std::size_t i) const { return network_.nodes[i]; }
  std::size_t input(std::size_t i, std::size_t which = 0) const {
    return static_cast<std::size_t>(node(i).inputs[which]);
  }
  const LayerWeights& layer(std::size_t i) const { return weights_.layers.at(static_cast<std::int32_t>(i)); }

  // The activation that is the only reader of node i.
  std::optional<std::size_t> sole_activation(std::size_t i) const {
    std::optional<std::size_t> found;
    for (std::size_t j = i + 1; j < network_.nodes.size(); ++j) {
      if (std::ranges::find(node(j).inputs, static_cast<std::int32_t>(i)) == node(j).inputs.end()) continue;
      if (found || !std::holds_alternative<search::Activation>(node(j).operation)) return std::nullopt;
      found = j;
    }
    return found;
  }

  Edge quantize(const std::string& name, const Edge& x, const Quantization& quantization) {
    const Edge scale = graph_.constant(name + ".scale", std::span(&quantization.scale, 1), {});
    const Edge zero_point = graph_.constant(name + ".zero_point", std::span(&quantization.zero_point, 1), {});
    return graph_.quantize(name, x, scale, zero_point);
  }
  Edge dequantize(const std::string& name, const Edge& x, const Quantization& quantization) {
    const Edge scale = graph_.constant(name + ".scale", std::span(&quantization.scale, 1), {});
    const Edge zero_point = graph_.constant(name + ".zero_point", std::span(&quantization.zero_point, 1), {});
    return graph_.dequantize(name, x, scale, zero_point);
  }

  const Value& quantized(std::size_t i) {
    Value& value = values_[i];
    if (!value.quantization) value = quantize_image(value);
    return value;
  }
  // A DequantizeLinear of its own for each reader, which is what the runtimes' rules ask for.
  Edge dequantized(std::size_t i, const std::string& reader) {
    const Value& value = quantized(i);
    return dequantize(std::format("{}.for.{}", value.edge, reader), value.edge, *value.quantization);
  }

  // One pass over the image does both: the integers of channel c, taken with its own scale and zero point, are the
  // normalised values in a scale and zero point that all channels share. So a padded zero is a normalised zero.
  Value quantize_image(const Value& image) {
    const std::string name = image.edge + ".quantized";
    if (!image.to_normalize) return {quantize(name, image.edge, kUnit), kUnit};
    const ImageQuantization normalized = quantize_normalized(weights_.mean, weights_.stddev);
    const OnnxGraph::Dimensions channels = {static_cast<std::int64_t>(normalized.scale.size())};
    const Edge scale = graph_.constant(name + ".scale", normalized.scale, channels);
    const Edge zero_point =
        graph_.constant(name + ".zero_point", std::span<const std::uint8_t>(normalized.zero_point), channels);
    return {graph_.quantize(name, image.edge, scale, zero_point), normalized.shared};
  }

  // Quantizes the float result of node i, doing the work of the activation behind it where that is possible.
  void finish(std::size_t i, const Edge& result) {
    const auto set = [&](std::size_t at, const Quantization& as, const Quantization& read_as) {
      values_[at] = {quantize(result + ".quantized", result, as), read_as};
      graph_.expect(values_[at].edge,
                    {OnnxGraph::kBatch, node(at).shape.channels, node(at).shape.height, node(at).shape.width});
    };
    ActivationRange range = ranges_[i];
    if (const auto activation = sole_activation(i)) {
      const search::ActivationKind kind = std::get<search::Activation>(node(*activation).operation).kind;
      if (const auto saturating = saturation(kind, ranges_[*activation])) {
        return set(*activation, saturating->written, saturating->read);
      }
      range.low = std::max(range.low, lowest_relevant(kind));
    }
    const Quantization quantization = quantization_of(range);
    set(i, quantization, quantization);
  }

  void append(std::size_t i, const search::Input& operation) {
    values_[i] = {graph_.input(node(i).name, operation.shape), std::nullopt};
  }

  void append(std::size_t i, const search::Normalize&) {
    values_[i] = values_[input(i)];
    values_[i].to_normalize = true;
  }

  // Normalisation and interpolation are both linear: their order does not matter.
  void append(std::size_t i, const search::Resize&) {
    const Value& x = values_[input(i)];
    values_[i] = {graph_.resize(node(i).name, x.edge, node(input(i)).shape, node(i).shape), std::nullopt,
                  x.to_normalize};
  }

  void append(std::size_t i, const search::Convolution& operation) {
    const std::string& name = node(i).name;
    const std::int64_t in_channels = node(input(i)).shape.channels;
    const OnnxGraph::Dimensions dimensions = {operation.out_channels, in_channels / operation.groups,
                                              operation.kernel_size, operation.kernel_size};
    const Edge x = dequantized(input(i), name);
    const auto [weight, bias] =
        parameters(i, quantize_layer(layer(i), values_[input(i)].quantization->scale), dimensions, /*axis=*/0);
    finish(i, graph_.conv(name, x, weight, bias, operation));
  }

  void append(std::size_t i, const search::Linear& operation) {
    append(i, search::Convolution{.out_channels = operation.out_features});
  }

  std::pair<Edge, Edge> parameters(std::size_t i, const QuantizedLayer& quantized,
                                   const OnnxGraph::Dimensions& dimensions, std::int64_t axis) {
    const std::string& name = node(i).name;
    const OnnxGraph::Dimensions channels = {static_cast<std::int64_t>(quantized.bias.size())};
    const std::vector<std::int8_t> zeros(quantized.bias.size());
    const Edge weight = graph_.dequantize(
        name + ".weight.real",
        graph_.constant(name + ".weight", std::span<const std::int8_t>(quantized.weight), dimensions),
        graph_.constant(name + ".weight.scale", quantized.weight_scale, channels),
        graph_.constant(name + ".weight.zero_point", std::span<const std::int8_t>(zeros), channels), axis);
    const Edge bias = graph_.dequantize(
        name + ".bias.real", graph_.constant(name + ".bias", std::span<const std::int32_t>(quantized.bias), channels),
        graph_.constant(name + ".bias.scale", quantized.bias_scale, channels), "", 0);
    return {weight, bias};
  }

  // The last layer gives floats: nothing is gained by rounding logits.
  Edge classifier(std::size_t i) {
    const std::string& name = node(i).name;
    const Value x = quantized(input(i));
    const std::int64_t in = node(input(i)).shape.channels;
    const QuantizedLayer layer = transposed(quantize_layer(this->layer(i), x.quantization->scale));
    const auto [weight, bias] = parameters(i, layer, {in, node(i).shape.channels}, /*axis=*/1);
    const Edge flat = dequantize(name + ".input", graph_.flatten(name + ".flat", x.edge), *x.quantization);
    return graph_.gemm(kLogits, flat, weight, bias);
  }

  void append(std::size_t i, const search::Activation& operation) {
    const std::string& name = node(i).name;
    const std::size_t x = input(i);
    if (const auto saturating = saturation(operation.kind, ranges_[i])) {
      const Value requantized = requantize(name, x, *saturating);
      values_[i] = requantized;
      return;
    }
    switch (operation.kind) {
      case search::ActivationKind::sigmoid:
        values_[i] = {quantize(name + ".quantized", graph_.sigmoid(name, dequantized(x, name)), kUnit), kUnit};
        return;
      case search::ActivationKind::silu: {
        const std::string gate = name + ".gate";
        const Edge gate_integers = quantize(gate + ".quantized", graph_.sigmoid(gate, dequantized(x, gate)), kUnit);
        return gated(i, {gate_integers, kUnit});
      }
      case search::ActivationKind::hard_swish:
        return gated(i, requantize(name + ".gate", x, *saturation(search::ActivationKind::hard_sigmoid, {})));
      default:
        std::unreachable();
    }
  }

  // The same integers in another scale. LeakyRelu with a slope of 1 does nothing but lets runtimes recognise an integer
  // operator, which is a table of 256 entries.
  Value requantize(const std::string& name, std::size_t x, const Saturation& saturation) {
    const Edge real = graph_.leaky_relu(name, dequantized(x, name), 1);
    return {quantize(name + ".quantized", real, saturation.written), saturation.read};
  }

  // input * gate
  void gated(std::size_t i, const Value& gate) {
    const std::string& name = node(i).name;
    const Edge a = dequantized(input(i), name);
    const Edge b = dequantize(name + ".gate.real", gate.edge, *gate.quantization);
    finish(i, graph_.mul(name, a, b));
  }

  void append(std::size_t i, const search::Add&) {
    const std::string& name = node(i).name;
    const Edge a = dequantized(input(i), name + ".0");
    finish(i, graph_.add(name, a, dequantized(input(i, 1), name + ".1")));
  }
  void append(std::size_t i, const search::Scale&) {
    const std::string& name = node(i).name;
    const Edge a = dequantized(input(i), name + ".0");
    finish(i, graph_.mul(name, a, dequantized(input(i, 1), name + ".1")));
  }
  // What only moves integers keeps their meaning: it works on them as they are.
  void append(std::size_t i, const search::ChannelSlice& operation) {
    const Value x = quantized(input(i));
    values_[i] = {graph_.slice_channels(node(i).name, x.edge, operation), x.quantization};
  }
  void append(std::size_t i, const search::ChannelShuffle& operation) {
    const Value x = quantized(input(i));
    values_[i] = {graph_.shuffle_channels(node(i).name, x.edge, node(i).shape, operation.groups), x.quantization};
  }
  void append(std::size_t i, const search::Concat&) {
    const std::string& name = node(i).name;
    std::vector<Edge> parts;
    for (std::size_t which = 0; which < node(i).inputs.size(); ++which)
      parts.push_back(dequantized(input(i, which), std::format("{}.{}", name, which)));
    finish(i, graph_.concat(name, parts));
  }
  void append(std::size_t i, const search::AveragePool& operation) {
    finish(i, graph_.average_pool(node(i).name, dequantized(input(i), node(i).name), operation));
  }
  void append(std::size_t i, const search::GlobalAveragePool&) {
    finish(i, graph_.global_average_pool(node(i).name, dequantized(input(i), node(i).name)));
  }

  const search::Network& network_;
  const NetworkWeights& weights_;
  const std::span<const ActivationRange> ranges_;
  OnnxGraph graph_;
  std::vector<Value> values_;  // by node
};

// The image's quantization does the normalisation: it must be reached through nothing but resizing.
std::expected<void, Error> check_image_path(const search::Network& network) {
  std::vector<bool> is_image(network.nodes.size());
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    const search::Node& node = network.nodes[i];
    const bool from_image = !node.inputs.empty() && is_image[static_cast<std::size_t>(node.inputs[0])];
    const bool normalize = std::holds_alternative<search::Normalize>(node.operation);
    const bool resize = std::holds_alternative<search::Resize>(node.operation);
    if ((normalize || resize) && !from_image) {
      return std::unexpected(
          Error{std::format("int8 export: node '{}' ({}) works on features; only images can be "
                            "normalised and resized",
                            node.name, search::operation_name(node.operation))});
    }
    is_image[i] = std::holds_alternative<search::Input>(node.operation) || normalize || resize;
  }
  return {};
}

std::expected<void, Error> check_ranges(const search::Network& network, std::span<const ActivationRange> ranges) {
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    if (!std::isfinite(ranges[i].low) || !std::isfinite(ranges[i].high) || ranges[i].low > ranges[i].high) {
      return std::unexpected(Error{std::format("the calibrated range of node '{}' is [{}, {}]", network.nodes[i].name,
                                               ranges[i].low, ranges[i].high)});
    }
  }
  return {};
}

}  // namespace

std::expected<std::string, Error> write_quantized_onnx(const search::Network& network, const NetworkWeights& weights,
                                                       std::span<const ActivationRange> ranges,
                                                       const OnnxMetadata& metadata, BatchDimension batch) {
  auto checked = check_weights(network, weights);
  if (checked) checked = check_ranges(network, ranges);
  if (checked) checked = check_image_path(network);
  if (!checked) return std::unexpected(checked.error());
  return QuantizedWriter(network, weights, ranges, batch).write(metadata);
}

}  // namespace finch::trainer
