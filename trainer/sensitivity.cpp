#include "trainer/sensitivity.hpp"

#include <algorithm>
#include <set>

#include "trainer/fake_quantization.hpp"
#include "trainer/quantization_plan.hpp"

namespace finch::trainer {

std::expected<std::vector<LayerSensitivity>, Error> layer_sensitivities(
    NetworkModule& module, std::span<const ActivationRange> ranges, const torch::Tensor& images,
    const std::function<void(double fraction)>& progress) {
  const torch::NoGradGuard no_grad;
  module.eval();
  const torch::Tensor truth = torch::log_softmax(module.forward(images).to(torch::kDouble), 1);
  std::set<std::int32_t> layers;
  for (std::size_t i = 0; i < module.network().nodes.size(); ++i) {
    if (is_layer(module.network().nodes[i])) layers.insert(static_cast<std::int32_t>(i));
  }
  const std::set<std::int32_t> of_image = layers_of_image(module.network());
  std::vector<LayerSensitivity> sensitivities;
  for (const std::int32_t layer : layers) {
    if (of_image.contains(layer)) continue;
    std::set<std::int32_t> others = layers;
    others.erase(layer);
    auto plan = plan_quantization(module.network(), ranges, others);
    if (!plan) return std::unexpected(plan.error());
    const torch::Tensor logits = FakeQuantization(module, std::move(*plan)).forward(images).to(torch::kDouble);
    const torch::Tensor divergence = (truth.exp() * (truth - torch::log_softmax(logits, 1))).sum(1).mean();
    sensitivities.push_back({layer, divergence.item<double>()});
    if (progress) progress(static_cast<double>(sensitivities.size()) / static_cast<double>(layers.size()));
  }
  std::ranges::stable_sort(sensitivities, std::ranges::greater(), &LayerSensitivity::divergence);
  return sensitivities;
}

}  // namespace finch::trainer
