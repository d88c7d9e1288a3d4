#include <format>
#include <map>
#include <optional>
#include <utility>

#include "trainer/check_weights.hpp"
#include "trainer/float_operators.hpp"
#include "trainer/onnx_graph.hpp"
#include "trainer/onnx_writer.hpp"

// How runtimes get integer kernels from this: they look for an operator with a DequantizeLinear before each input and
// a QuantizeLinear behind its output and put one integer operator in the place of all. So activations have no operator
// of their own where the preceding QuantizeLinear can do their work by saturating: ReLU is a range that begins at zero,
// and the hard sigmoid is a range of [-3, 3] whose integers are then read as [0, 1].

namespace finch::trainer {
namespace {

using Edge = OnnxGraph::Edge;

// What a node has given: floats, integers that stand for reals, or both.
struct Value {
  Edge floats, integers;  // empty: not there
};

class QuantizedWriter {
 public:
  QuantizedWriter(const search::Network& network, const NetworkWeights& weights, const QuantizationPlan& plan,
                  BatchDimension batch)
      : network_(network),
        weights_(weights),
        plan_(plan),
        graph_(batch),
        float_operators_(graph_, network, weights),
        values_(network.nodes.size()) {}

  std::expected<std::string, Error> write(const OnnxMetadata& metadata) {
    const std::size_t last = network_.nodes.size() - 1;
    for (std::size_t i = 0; i < last; ++i) {
      if (plan_.nodes[i].taken_over) continue;  // it has its value already
      append(i);
    }
    const OnnxGraph::Dimensions dimensions = {OnnxGraph::kBatch, network_.output_shape().channels};
    if (std::holds_alternative<search::Linear>(node(last).operation)) {
      return graph_.finish(classifier(last), dimensions, metadata);
    }
    append(last);
    return graph_.finish(graph_.flatten(kLogits, floats(last, "logits")), dimensions, metadata);
  }

 private:
  static constexpr const char* kLogits = "logits";

  const search::Node& node(std::size_t i) const { return network_.nodes[i]; }
  std::size_t input(std::size_t i, std::size_t which = 0) const {
    return static_cast<std::size_t>(node(i).inputs[which]);
  }
  const Quantization& read(std::size_t i) const { return plan_.nodes[i].integers.read; }

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

  const Edge& integers(std::size_t i) {
    Value& value = values_[i];
    if (value.integers.empty()) {
      value.integers = quantize(value.floats + ".quantized", value.floats, plan_.nodes[i].integers.written);
    }
    return value.integers;
  }
  // A DequantizeLinear of its own for each reader, which is what the runtimes' rules ask for.
  Edge dequantized(std::size_t i, const std::string& reader) {
    const Edge& from = integers(i);
    return dequantize(std::format("{}.for.{}", from, reader), from, read(i));
  }
  // For an operator that is to work on floats. A scale for each channel, though all are the same: between a
  // DequantizeLinear of one scale and a QuantizeLinear ONNX Runtime (from 1.20 on) quantizes float weights of its own
  // accord, with one scale for all channels. Where there is one channel, an operator that does nothing stands between.
  Edge floats(std::size_t i, const std::string& reader) {
    if (plan_.nodes[i].floating && !values_[i].floats.empty()) return values_[i].floats;
    const Edge& from = integers(i);
    const std::string name = std::format("{}.for.{}", from, reader);
    const auto channels = static_cast<std::size_t>(node(i).shape.channels);
    const OnnxGraph::Dimensions dimensions = {node(i).shape.channels};
    const std::vector<float> scales(channels, read(i).scale);
    const std::vector<std::uint8_t> zero_points(channels, read(i).zero_point);
    const Edge real = graph_.dequantize(
        name, from, graph_.constant(name + ".scale", scales, dimensions),
        graph_.constant(name + ".zero_point", std::span<const std::uint8_t>(zero_points), dimensions));
    return channels == 1 ? graph_.leaky_relu(name + ".kept", real, 1) : real;
  }

  // The float result of node i: it stays so for readers of floats, and is rounded for an activation that this does.
  void finish(std::size_t i, const Edge& result) {
    const PlannedNode& planned = plan_.nodes[i];
    const std::size_t of = planned.takes_over.value_or(i);
    values_[of].floats = result;
    const bool rounded = planned.takes_over || !planned.floating;
    graph_.expect(rounded ? integers(of) : result,
                  {OnnxGraph::kBatch, node(i).shape.channels, node(i).shape.height, node(i).shape.width});
  }

  void append(std::size_t i) {
    if (plan_.nodes[i].floating) return append_float(i);
    std::visit([&](const auto& operation) { append(i, operation); }, node(i).operation);
  }

  void append_float(std::size_t i) {
    std::vector<Edge> inputs;
    for (std::size_t which = 0; which < node(i).inputs.size(); ++which)
      inputs.push_back(floats(input(i, which), std::format("{}.{}", node(i).name, which)));
    finish(i, float_operators_.append(i, inputs));
  }

  void append(std::size_t, const search::Input&) { std::unreachable(); }
  void append(std::size_t, const search::Normalize&) { std::unreachable(); }
  void append(std::size_t, const search::Resize&) { std::unreachable(); }

  void append(std::size_t i, const search::Convolution& operation) {
    const std::string& name = node(i).name;
    const std::int64_t in_channels = node(input(i)).shape.channels;
    const OnnxGraph::Dimensions dimensions = {operation.out_channels, in_channels / operation.groups,
                                              operation.kernel_size, operation.kernel_size};
    const Edge x = dequantized(input(i), name);
    const auto [weight, bias] = parameters(i, quantize_layer(layer(i), read(input(i)).scale), dimensions, /*axis=*/0);
    finish(i, graph_.conv(name, x, weight, bias, operation));
  }

  void append(std::size_t i, const search::Linear& operation) {
    append(i, search::Convolution{.out_channels = operation.out_features});
  }

  const LayerWeights& layer(std::size_t i) const { return weights_.layers.at(static_cast<std::int32_t>(i)); }

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
    if (plan_.nodes[i].floating) return float_operators_.append_classifier(i, floats(input(i), name), kLogits);
    const Edge& x = integers(input(i));
    const std::int64_t in = node(input(i)).shape.channels;
    const QuantizedLayer layer = transposed(quantize_layer(this->layer(i), read(input(i)).scale));
    const auto [weight, bias] = parameters(i, layer, {in, node(i).shape.channels}, /*axis=*/1);
    const Edge flat = dequantize(name + ".input", graph_.flatten(name + ".flat", x), read(input(i)));
    return graph_.gemm(kLogits, flat, weight, bias);
  }

  void append(std::size_t i, const search::Activation& operation) {
    const std::string& name = node(i).name;
    const std::size_t x = input(i);
    switch (operation.kind) {
      case search::ActivationKind::relu:
      case search::ActivationKind::relu6:
      case search::ActivationKind::hard_sigmoid:
        values_[i].integers = requantize(name, x, plan_.nodes[i].integers.written);
        return;
      case search::ActivationKind::sigmoid:
        values_[i].integers = quantize(name + ".quantized", graph_.sigmoid(name, dequantized(x, name)), kUnit);
        return;
      case search::ActivationKind::silu: {
        const std::string gate = name + ".gate";
        const Edge integers = quantize(gate + ".quantized", graph_.sigmoid(gate, dequantized(x, gate)), kUnit);
        return gated(i, integers, kUnit);
      }
      case search::ActivationKind::hard_swish: {
        if (plan_.nodes[i].clipped_gate) return gated(i, clipped(name, x), {read(x).scale / 6, 0});
        const Saturation saturating = *saturation(search::ActivationKind::hard_sigmoid, {});
        return gated(i, requantize(name + ".gate", x, saturating.written), saturating.read);
      }
    }
  }

  // min(x + 3, 6) as integers.
  Edge clipped(const std::string& name, std::size_t x) {
    const int greatest = 2 * read(x).zero_point;
    return greatest >= 255
               ? integers(x)
               : graph_.clip(name + ".gate", integers(x), std::uint8_t{0}, static_cast<std::uint8_t>(greatest));
  }

  // The same integers in another scale. LeakyRelu with a slope of 1 does nothing but lets runtimes recognise an integer
  // operator, which is a table of 256 entries.
  Edge requantize(const std::string& name, std::size_t x, const Quantization& written) {
    return quantize(name + ".quantized", graph_.leaky_relu(name, dequantized(x, name), 1), written);
  }

  // input * gate
  void gated(std::size_t i, const Edge& gate, const Quantization& gate_is_read) {
    const std::string& name = node(i).name;
    const Edge a = dequantized(input(i), name);
    finish(i, graph_.mul(name, a, dequantize(name + ".gate.real", gate, gate_is_read)));
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
  // What only moves integers works on them as they are.
  void append(std::size_t i, const search::ChannelSlice& operation) {
    values_[i].integers = graph_.slice_channels(node(i).name, integers(input(i)), operation);
  }
  void append(std::size_t i, const search::ChannelShuffle& operation) {
    values_[i].integers = graph_.shuffle_channels(node(i).name, integers(input(i)), node(i).shape, operation.groups);
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
  const QuantizationPlan& plan_;
  OnnxGraph graph_;
  FloatOperators float_operators_;
  std::vector<Value> values_;  // by node
};

}  // namespace

std::expected<std::string, Error> write_quantized_onnx(const search::Network& network, const NetworkWeights& weights,
                                                       const QuantizationPlan& plan, const OnnxMetadata& metadata,
                                                       BatchDimension batch) {
  if (auto checked = check_weights(network, weights); !checked) return std::unexpected(checked.error());
  return QuantizedWriter(network, weights, plan, batch).write(metadata);
}

}  // namespace finch::trainer
