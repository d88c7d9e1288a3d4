#include "trainer/torchvision_names.hpp"

#include <algorithm>
#include <format>
#include <utility>

namespace finch::trainer {
namespace {

struct Layer {
  std::string prefix;  // of its convolution or linear layer
  std::string norm;    // of the BatchNorm behind it; empty: none
  int stage = -1, block = -1;
  std::string role;
};

class Placing {
 public:
  explicit Placing(const TensorShapes& shapes) : shapes_(shapes) {}

  std::vector<PlacedTensor> run() {
    if (has("conv1.0.weight") && has("stage2.0.branch2.0.weight")) {
      place_shufflenet();
    } else if (has("features.0.0.weight")) {
      place_mobilenet();
    }
    return std::move(placed_);
  }

 private:
  bool has(const std::string& name) const { return shapes_.contains(name); }
  bool is_convolution(const std::string& prefix) const {
    const auto found = shapes_.find(prefix + ".weight");
    return found != shapes_.end() && found->second.size() == 4;
  }

  void add(const std::string& name, const Layer& layer, const char* tensor) {
    if (has(name)) placed_.push_back({name, layer.stage, layer.block, layer.role, tensor});
  }
  void place(const Layer& layer) {
    add(layer.prefix + ".weight", layer, "weight");
    add(layer.prefix + ".bias", layer, "bias");
    if (layer.norm.empty()) return;
    add(layer.norm + ".weight", layer, "scale");
    add(layer.norm + ".bias", layer, "shift");
    add(layer.norm + ".running_mean", layer, "running_mean");
    add(layer.norm + ".running_var", layer, "running_var");
  }
  // Behind the features, and of as many inputs as these have channels.
  void place_classifier(const std::string& prefix, const std::string& features) {
    const auto weight = shapes_.find(prefix + ".weight");
    if (weight == shapes_.end() || weight->second.size() != 2) return;
    if (weight->second[1] == shapes_.at(features + ".weight")[0]) place({prefix, "", -1, -1, "classifier"});
  }

  // features.0 is the stem, the last one the head; between them are the blocks, as conv (V2) or block (V3).
  void place_mobilenet() {
    place({"features.0.0", "features.0.1", -1, -1, "stem"});
    int stage = -1, block = 0;
    std::int64_t channels = 0;
    for (int i = 1;; ++i) {
      const std::string at = std::format("features.{}", i);
      const auto layers = mobilenet_block(at);
      if (layers.empty()) {
        if (!is_convolution(at + ".0")) return;
        place({at + ".0", at + ".1", -1, -1, "head"});
        place_classifier("classifier.1", at + ".0");
        place_classifier("classifier.3", at + ".0");
        return;
      }
      const std::int64_t out = shapes_.at(layers.back().prefix + ".weight")[0];
      if (out != std::exchange(channels, out)) {
        ++stage;
        block = 0;
      }
      for (Layer layer : layers) {
        layer.stage = stage;
        layer.block = block;
        place(layer);
      }
      ++block;
    }
  }

  // The last one is the projection; empty: no block.
  std::vector<Layer> mobilenet_block(const std::string& at) const {
    std::vector<Layer> layers;
    const auto convolution = [&](const std::string& prefix, const std::string& norm, const char* role) {
      layers.push_back({prefix, norm, -1, -1, role});
    };
    const std::string conv = at + ".conv";
    if (is_convolution(conv + ".2")) {
      convolution(conv + ".0.0", conv + ".0.1", "expand");
      convolution(conv + ".1.0", conv + ".1.1", "depthwise");
      convolution(conv + ".2", conv + ".3", "project");
    } else if (is_convolution(conv + ".1")) {
      convolution(conv + ".0.0", conv + ".0.1", "depthwise");
      convolution(conv + ".1", conv + ".2", "project");
    }
    std::vector<std::string> parts;
    for (int k = 0;; ++k) {
      const std::string part = std::format("{}.block.{}", at, k);
      if (is_convolution(part + ".0")) {
        parts.push_back(part);
      } else if (is_convolution(part + ".fc1")) {
        convolution(part + ".fc1", "", "reduce");
        convolution(part + ".fc2", "", "excite");
      } else {
        break;
      }
    }
    static constexpr const char* kRoles[] = {"expand", "depthwise", "project"};
    for (std::size_t k = 0; k < parts.size() && parts.size() <= std::size(kRoles); ++k)
      convolution(parts[k] + ".0", parts[k] + ".1", kRoles[std::size(kRoles) - parts.size() + k]);
    const bool whole = std::ranges::all_of(layers, [&](const Layer& layer) { return is_convolution(layer.prefix); });
    return whole ? layers : std::vector<Layer>();
  }

  void place_shufflenet() {
    place({"conv1.0", "conv1.1", -1, -1, "stem"});
    for (int stage = 0; stage < 3; ++stage) {
      for (int block = 0;; ++block) {
        const std::string at = std::format("stage{}.{}.", stage + 2, block);
        if (!is_convolution(at + "branch2.0")) break;
        place({at + "branch1.0", at + "branch1.1", stage, block, "shortcut.depthwise"});
        place({at + "branch1.2", at + "branch1.3", stage, block, "shortcut"});
        place({at + "branch2.0", at + "branch2.1", stage, block, "branch.expand"});
        place({at + "branch2.3", at + "branch2.4", stage, block, "branch.depthwise"});
        place({at + "branch2.5", at + "branch2.6", stage, block, "branch.project"});
      }
    }
    if (!is_convolution("conv5.0")) return;
    place({"conv5.0", "conv5.1", -1, -1, "head"});
    place_classifier("fc", "conv5.0");
  }

  const TensorShapes& shapes_;
  std::vector<PlacedTensor> placed_;
};

}  // namespace

std::vector<PlacedTensor> place_torchvision_tensors(const TensorShapes& shapes) {
  return Placing(shapes).run();
}

}  // namespace finch::trainer
