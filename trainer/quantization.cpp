#include "trainer/quantization.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace finch::trainer {
namespace {

constexpr float kSteps = 255;

std::uint8_t saturate(float value) {
  return static_cast<std::uint8_t>(std::clamp(std::nearbyint(value), 0.0F, kSteps));
}

}  // namespace

Quantization quantization_of(ActivationRange range) {
  const float low = std::min(range.low, 0.0F), high = std::max(range.high, 0.0F);
  const float scale = high / kSteps - low / kSteps;
  if (scale < 1e-20F) return kUnit;  // far from the denormals, also after multiplication by a weight's scale
  return {scale, saturate(-low / scale)};
}

std::optional<Saturation> saturation(search::ActivationKind kind, ActivationRange range) {
  switch (kind) {
    case search::ActivationKind::relu: {
      const Quantization quantization = quantization_of({0, range.high});
      return Saturation{quantization, quantization};
    }
    case search::ActivationKind::relu6: {
      const Quantization quantization = quantization_of({0, std::min(range.high, 6.0F)});
      return Saturation{quantization, quantization};
    }
    case search::ActivationKind::hard_sigmoid:
      // 0.5 would be the integer 127.5: 128 makes the gate too large by 0.002.
      return Saturation{{6.0F / kSteps, 128}, kUnit};
    default:
      return std::nullopt;
  }
}

float lowest_relevant(search::ActivationKind kind) {
  switch (kind) {
    case search::ActivationKind::hard_swish:
      return -3;  // zero from here on
    case search::ActivationKind::silu:
      return -8;  // -0.003, less than half a step of any range beyond 1.4
    default:
      return -std::numeric_limits<float>::infinity();
  }
}

std::optional<Quantization> shifted_by_three(float high) {
  const float zero_point = std::floor(3 * kSteps / (3 + std::max(high, 0.0F)));
  if (zero_point < 1) return std::nullopt;
  return Quantization{3 / zero_point, static_cast<std::uint8_t>(zero_point)};
}

bool is_shifted_by_three(const Quantization& quantization) {
  return quantization.zero_point > 0 && quantization.scale == 3 / static_cast<float>(quantization.zero_point);
}

QuantizedLayer quantize_layer(const LayerWeights& layer, float input_scale) {
  constexpr float kGreatestWeight = 127;
  constexpr float kGreatestBias = 1 << 30;  // leaves room for the sum of products
  QuantizedLayer result;
  const std::size_t channels = layer.bias.size();
  const std::size_t per_channel = layer.weight.size() / channels;
  for (std::size_t c = 0; c < channels; ++c) {
    const std::span<const float> weights = std::span(layer.weight).subspan(c * per_channel, per_channel);
    float greatest = 0;
    for (const float weight : weights) greatest = std::max(greatest, std::abs(weight));
    // A channel of next to nothing but a bias takes the scale that its bias needs.
    const float scale =
        std::max({greatest / kGreatestWeight, std::abs(layer.bias[c]) / input_scale / kGreatestBias, 1e-12F});
    result.weight_scale.push_back(scale);
    result.bias_scale.push_back(scale * input_scale);
    result.bias.push_back(static_cast<std::int32_t>(std::nearbyint(layer.bias[c] / result.bias_scale.back())));
    for (const float weight : weights) {
      result.weight.push_back(
          static_cast<std::int8_t>(std::clamp(std::nearbyint(weight / scale), -kGreatestWeight, kGreatestWeight)));
    }
  }
  return result;
}

QuantizedLayer transposed(QuantizedLayer layer) {
  const std::size_t out = layer.bias.size(), in = layer.weight.size() / out;
  std::vector<std::int8_t> weight(layer.weight.size());
  for (std::size_t o = 0; o < out; ++o) {
    for (std::size_t i = 0; i < in; ++i) weight[i * out + o] = layer.weight[o * in + i];
  }
  layer.weight = std::move(weight);
  return layer;
}

}  // namespace finch::trainer
