// The arithmetic of 8-bit quantization (Jacob 2018, "Quantization and Training of Neural Networks for Efficient
// Integer-Arithmetic-Only Inference"): real = scale * (integer - zero_point). Pure functions; thread safe.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "search/network.hpp"
#include "trainer/network_weights.hpp"
#include "trainer/range_observer.hpp"

namespace finch::trainer {

struct Quantization {
  float scale = 1;
  std::uint8_t zero_point = 0;
};

inline constexpr Quantization kUnit{1.0F / 255, 0};  // of [0, 1]

// Zero is exact. A range of nothing but zero gets a harmless scale.
Quantization quantization_of(ActivationRange range);

// An activation that saturating integers compute: real values `written` in one quantization are to be `read` in
// another.
struct Saturation {
  Quantization written, read;
};
// Nothing for the activations that need an operator. `range`: of the activation's output.
std::optional<Saturation> saturation(search::ActivationKind kind, ActivationRange range);
// Inputs below it give the same output, or nearly; -infinity if there is no such value.
float lowest_relevant(search::ActivationKind kind);

// A quantization of [-3, high] in which zero_point * scale is 3, so that the integers, read from zero, are x + 3: then
// the gate of a hard swish needs no table. Nothing if `high` is too large for it.
std::optional<Quantization> shifted_by_three(float high);
bool is_shifted_by_three(const Quantization& quantization);

// Symmetric, one scale an output channel.
struct QuantizedLayer {
  std::vector<std::int8_t> weight;  // [out, ...]
  std::vector<float> weight_scale;  // [out]
  std::vector<std::int32_t> bias;   // [out]
  std::vector<float> bias_scale;    // [out], input_scale * weight_scale
};
QuantizedLayer quantize_layer(const LayerWeights& layer, float input_scale);
// weight [out, in] -> [in, out]
QuantizedLayer transposed(QuantizedLayer layer);

}  // namespace finch::trainer
