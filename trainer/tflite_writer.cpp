#include "trainer/tflite_writer.hpp"

#include <algorithm>
#include <array>
#include <format>
#include <optional>
#include <set>
#include <utility>
#include <variant>

#include "trainer/check_weights.hpp"
#include "trainer/quantization.hpp"
#include "trainer/tflite_graph.hpp"

namespace finch::trainer {
namespace {

using Edge = TfliteGraph::Edge;
using Shape = TfliteGraph::Shape;
using Type = TfliteGraph::Type;
using Int8 = TfliteGraph::Int8;
using tflite::BuiltinOperator;
constexpr auto kNone = tflite::ActivationFunctionType::NONE;

// The same steps, with int8 in the place of uint8.
Int8 int8_of(const Quantization& quantization) {
  return {quantization.scale, std::int64_t{quantization.zero_point} - 128};
}
constexpr Int8 kUnitInterval{1.0F / 256, -128};  // what LOGISTIC is fixed to

// [out, in, k, k] -> [out, k, k, in], for depthwise convolutions [k, k, out].
template <typename T>
std::vector<T> channels_last(std::span<const T> weight, const search::Convolution& operation, std::int64_t in) {
  const auto pixels = static_cast<std::size_t>(operation.kernel_size * operation.kernel_size);
  const auto out = static_cast<std::size_t>(operation.out_channels);
  const auto channels = static_cast<std::size_t>(in);
  const bool depthwise = operation.groups > 1;
  std::vector<T> moved(weight.size());
  for (std::size_t o = 0; o < out; ++o) {
    for (std::size_t c = 0; c < channels; ++c) {
      for (std::size_t p = 0; p < pixels; ++p) {
        const std::size_t to = depthwise ? p * out + o : (o * pixels + p) * channels + c;
        moved[to] = weight[(o * channels + c) * pixels + p];
      }
    }
  }
  return moved;
}

// One edge a node, [1, H, W, C]. With ranges all but the image's way in, the float layers and the logits is int8;
// without, float.
class Writer {
 public:
  Writer(const search::Network& network, const NetworkWeights& weights,
         std::optional<std::span<const ActivationRange>> ranges, const std::set<std::int32_t>& float_layers,
         BatchDimension batch)
      : network_(network),
        weights_(weights),
        ranges_(ranges),
        float_layers_(float_layers),
        graph_(batch),
        edges_(network.nodes.size(), kMissing),
        converted_(network.nodes.size(), kMissing) {}

  std::expected<std::string, Error> write(const OnnxMetadata& metadata) {
    const std::size_t last = network_.nodes.size() - 1;
    for (std::size_t i = 0; i < network_.nodes.size(); ++i) {
      if (edges_[i] != kMissing) continue;  // the node before has taken it over
      if (const auto* convolution = std::get_if<search::Convolution>(&node(i).operation)) {
        if (convolution->groups > 1 &&
            (convolution->groups != convolution->out_channels || convolution->groups != input_channels(i))) {
          return std::unexpected(Error{std::format(
              "node '{}' is a convolution of {} groups; in TensorFlow Lite's format a convolution has one, or one a "
              "channel",
              node(i).name, convolution->groups)});
        }
      }
      if (i == last && std::holds_alternative<search::Linear>(node(i).operation)) {
        edges_[i] = classifier(i);
      } else {
        std::visit([&](const auto& operation) { append(i, operation); }, node(i).operation);
      }
    }
    Edge logits = edges_[last];
    if (graph_.shape(logits).size() == 4) logits = graph_.flatten(node(last).name + ".flat", logits);
    if (graph_.type(logits)) logits = graph_.convert(node(last).name + ".real", logits, std::nullopt);
    return graph_.finish(logits, metadata);
  }

 private:
  static constexpr Edge kMissing = -1;

  const search::Node& node(std::size_t i) const { return network_.nodes[i]; }
  std::size_t source(std::size_t i, std::size_t which = 0) const {
    return static_cast<std::size_t>(node(i).inputs[which]);
  }
  std::int64_t input_channels(std::size_t i) const { return node(source(i)).shape.channels; }
  const LayerWeights& layer(std::size_t i) const { return weights_.layers.at(static_cast<std::int32_t>(i)); }
  Shape shape(std::size_t i) const {
    const search::TensorShape& shape = node(i).shape;
    return {1, static_cast<std::int32_t>(shape.height), static_cast<std::int32_t>(shape.width),
            static_cast<std::int32_t>(shape.channels)};
  }

  bool on_integers(std::size_t i) const { return ranges_ && !float_layers_.contains(static_cast<std::int32_t>(i)); }

  // What node i works on: integers or floats, converted where the node before gives the other.
  Edge input(std::size_t i, std::size_t which = 0) {
    const std::size_t from = source(i, which);
    const bool integers = on_integers(i);
    if (graph_.type(edges_[from]).has_value() == integers) return edges_[from];
    Edge& converted = converted_[from];
    if (converted == kMissing) {
      converted = graph_.convert(node(from).name + (integers ? ".quantized" : ".real"), edges_[from],
                                 integers ? Type(int8_of(quantization_of((*ranges_)[from]))) : std::nullopt);
    }
    return converted;
  }
  // Of node i's output, when it has a range of its own.
  Type type(std::size_t i) const {
    return on_integers(i) ? Type(int8_of(quantization_of((*ranges_)[i]))) : std::nullopt;
  }

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
  // Appends an operator that can end in a ReLU, and gives its edge to the activation behind it where that is one.
  // `make` takes the activation and the type of the output.
  void fused(std::size_t i, const auto& make) {
    const auto behind = sole_activation(i);
    const auto kind = behind ? std::get<search::Activation>(node(*behind).operation).kind : search::ActivationKind{};
    if (behind && (kind == search::ActivationKind::relu || kind == search::ActivationKind::relu6)) {
      const bool six = kind == search::ActivationKind::relu6;
      edges_[i] = make(six ? tflite::ActivationFunctionType::RELU6 : tflite::ActivationFunctionType::RELU,
                       on_integers(i) ? saturated(*behind, kind) : std::nullopt);
      edges_[*behind] = edges_[i];
      return;
    }
    Type to = type(i);
    if (to && behind) {
      ActivationRange range = (*ranges_)[i];
      range.low = std::max(range.low, lowest_relevant(kind));
      to = int8_of(quantization_of(range));
    }
    edges_[i] = make(kNone, to);
  }
  Type saturated(std::size_t i, search::ActivationKind kind) const {
    return ranges_ ? Type(int8_of(saturation(kind, (*ranges_)[i])->written)) : std::nullopt;
  }

  void append(std::size_t i, const search::Input& operation) {
    edges_[i] = graph_.input(node(i).name, operation.shape);
  }

  // In float also with ranges.
  void append(std::size_t i, const search::Normalize&) {
    const std::string& name = node(i).name;
    std::vector<float> factor, offset;
    for (std::size_t c = 0; c < weights_.mean.size(); ++c) {
      factor.push_back(1 / weights_.stddev[c]);
      offset.push_back(-weights_.mean[c] / weights_.stddev[c]);
    }
    const Shape channels{static_cast<std::int32_t>(factor.size())};
    const Edge scaled = graph_.mul(name + ".scaled", edges_[source(i)],
                                   graph_.constant(name + ".factor", std::span<const float>(factor), channels), {});
    edges_[i] = graph_.add(name, scaled, graph_.constant(name + ".offset", std::span<const float>(offset), channels),
                           kNone, {});
  }
  void append(std::size_t i, const search::Resize&) {
    edges_[i] = graph_.resize(node(i).name, edges_[source(i)], node(i).shape);
  }

  std::pair<Edge, Edge> parameters(std::size_t i, Edge x, const search::Convolution& operation, const Shape& shape) {
    const std::string& name = node(i).name;
    const std::int64_t in = input_channels(i) / operation.groups;
    const Shape channels{static_cast<std::int32_t>(operation.out_channels)};
    if (!graph_.type(x)) {
      const auto weight = channels_last(std::span(layer(i).weight), operation, in);
      return {graph_.constant(name + ".weight", std::span(weight), shape),
              graph_.constant(name + ".bias", std::span(layer(i).bias), channels)};
    }
    const QuantizedLayer quantized = quantize_layer(layer(i), graph_.type(x)->scale);
    const auto weight = channels_last(std::span(quantized.weight), operation, in);
    const int channels_at = operation.groups > 1 ? 3 : 0;
    return {graph_.constant(name + ".weight", std::span(weight), shape, quantized.weight_scale, channels_at),
            graph_.constant(name + ".bias", std::span(quantized.bias), channels, quantized.bias_scale, 0)};
  }

  void append(std::size_t i, const search::Convolution& operation) {
    const Edge x = input(i);
    const auto kernel = static_cast<std::int32_t>(operation.kernel_size);
    const auto out = static_cast<std::int32_t>(operation.out_channels);
    const bool depthwise = operation.groups > 1;
    const auto in = static_cast<std::int32_t>(input_channels(i));
    const Shape weights = depthwise ? Shape{1, kernel, kernel, out} : Shape{out, kernel, kernel, in};
    const auto [weight, bias] = parameters(i, x, operation, weights);
    fused(i, [&](tflite::ActivationFunctionType activation, Type to) {
      const std::string& name = node(i).name;
      return depthwise ? graph_.depthwise_conv(name, x, weight, bias, operation, shape(i), activation, to)
                       : graph_.conv(name, x, weight, bias, operation, shape(i), activation, to);
    });
  }
  void append(std::size_t i, const search::Linear& operation) {
    append(i, search::Convolution{.out_channels = operation.out_features});
  }
  Edge classifier(std::size_t i) {
    const Edge x = input(i);
    const search::Convolution pointwise{.out_channels = node(i).shape.channels};
    const auto [weight, bias] =
        parameters(i, x, pointwise,
                   {static_cast<std::int32_t>(pointwise.out_channels), static_cast<std::int32_t>(input_channels(i))});
    return graph_.fully_connected(node(i).name, x, weight, bias, type(i));
  }

  void append(std::size_t i, const search::Activation& operation) {
    const std::string& name = node(i).name;
    const Edge x = input(i);
    switch (operation.kind) {
      case search::ActivationKind::relu:
        edges_[i] = graph_.unary(BuiltinOperator::RELU, name, x, saturated(i, operation.kind));
        return;
      case search::ActivationKind::relu6:
        edges_[i] = graph_.unary(BuiltinOperator::RELU6, name, x, saturated(i, operation.kind));
        return;
      case search::ActivationKind::hard_swish:
        edges_[i] = graph_.unary(BuiltinOperator::HARD_SWISH, name, x, type(i));
        return;
      case search::ActivationKind::sigmoid:
        edges_[i] = sigmoid(name, x);
        return;
      case search::ActivationKind::silu:
        edges_[i] = graph_.mul(name, x, sigmoid(name + ".gate", x), type(i));
        return;
      case search::ActivationKind::hard_sigmoid: {
        // relu6(x + 3) / 6
        const Type six = ranges_ ? Type(int8_of(quantization_of({0, 6}))) : std::nullopt;
        const Type unit = ranges_ ? Type(int8_of(kUnit)) : std::nullopt;
        const Edge shifted =
            graph_.add(name + ".shifted", x, number(name + ".three", 3), tflite::ActivationFunctionType::RELU6, six);
        edges_[i] = graph_.mul(name, shifted, number(name + ".sixth", 1.0F / 6), unit);
        return;
      }
    }
    std::unreachable();
  }
  Edge sigmoid(const std::string& name, Edge x) {
    return graph_.unary(BuiltinOperator::LOGISTIC, name, x, ranges_ ? Type(kUnitInterval) : std::nullopt);
  }
  // A positive constant, exact also as int8.
  Edge number(const std::string& name, float value) {
    constexpr std::int8_t kGreatest = 127;
    if (!ranges_) return graph_.constant(name, std::span<const float>(&value, 1), {1});
    return graph_.constant(name, std::span<const std::int8_t>(&kGreatest, 1), {1}, Int8{value / kGreatest, 0});
  }

  void append(std::size_t i, const search::Add&) {
    const Edge a = input(i), b = input(i, 1);
    fused(i, [&](tflite::ActivationFunctionType activation, Type to) {
      return graph_.add(node(i).name, a, b, activation, to);
    });
  }
  void append(std::size_t i, const search::Scale&) {
    const Edge a = input(i);
    edges_[i] = graph_.mul(node(i).name, a, input(i, 1), type(i));
  }
  // What only moves numbers keeps their meaning.
  void append(std::size_t i, const search::ChannelSlice& operation) {
    edges_[i] = graph_.slice_channels(node(i).name, input(i), operation);
  }
  void append(std::size_t i, const search::ChannelShuffle& operation) {
    edges_[i] = graph_.shuffle_channels(node(i).name, input(i), operation.groups);
  }
  // The format wants all parts to mean the same.
  void append(std::size_t i, const search::Concat&) {
    const Type to = type(i);
    std::vector<Edge> parts;
    for (std::size_t which = 0; which < node(i).inputs.size(); ++which) {
      const Edge part = input(i, which);
      const bool converted = to && graph_.type(part) != to;
      parts.push_back(converted ? graph_.convert(std::format("{}.{}", node(i).name, which), part, to) : part);
    }
    edges_[i] = graph_.concat(node(i).name, parts);
  }
  void append(std::size_t i, const search::AveragePool& operation) {
    edges_[i] = graph_.average_pool(node(i).name, input(i), operation, shape(i));
  }
  void append(std::size_t i, const search::GlobalAveragePool&) {
    edges_[i] = graph_.global_average_pool(node(i).name, input(i), type(i));
  }

  const search::Network& network_;
  const NetworkWeights& weights_;
  const std::optional<std::span<const ActivationRange>> ranges_;
  const std::set<std::int32_t>& float_layers_;
  TfliteGraph graph_;
  // By node:
  std::vector<Edge> edges_;
  std::vector<Edge> converted_;  // to integers, or to floats; once some node wants it
};

}  // namespace

std::expected<std::string, Error> write_tflite(const search::Network& network, const NetworkWeights& weights,
                                               const OnnxMetadata& metadata, BatchDimension batch) {
  if (auto checked = check_weights(network, weights); !checked) return std::unexpected(checked.error());
  const std::set<std::int32_t> none;
  return Writer(network, weights, std::nullopt, none, batch).write(metadata);
}

std::expected<std::string, Error> write_quantized_tflite(const search::Network& network, const NetworkWeights& weights,
                                                         std::span<const ActivationRange> ranges,
                                                         const std::set<std::int32_t>& float_layers,
                                                         const OnnxMetadata& metadata, BatchDimension batch) {
  if (auto checked = check_weights(network, weights); !checked) return std::unexpected(checked.error());
  return Writer(network, weights, ranges, float_layers, batch).write(metadata);
}

}  // namespace finch::trainer
