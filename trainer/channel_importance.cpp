#include "trainer/channel_importance.hpp"

#include <algorithm>
#include <format>
#include <limits>
#include <map>
#include <numeric>
#include <vector>

#include "trainer/batch_source.hpp"
#include "trainer/distillation_loss.hpp"

namespace finch::trainer {
namespace {

namespace ir = finch::search;

constexpr std::int64_t kBatch = 64;
constexpr const char* kNames[] = {"l1", "l2", "batch_norm", "taylor"};  // in the order of ImportanceCriterion

using ByChannel = std::map<std::int32_t, std::vector<double>>;  // by node

std::vector<double> values(const torch::Tensor& tensor) {
  const torch::Tensor copy = tensor.detach().to(torch::kCPU, torch::kDouble).contiguous();
  return {copy.data_ptr<double>(), copy.data_ptr<double>() + copy.numel()};
}

const torch::Tensor* find(const NetworkModule& module, std::size_t node, const char* tensor) {
  const auto found = module.state().find(module.network().nodes[node].name + "." + tensor);
  return found == module.state().end() ? nullptr : &found->second;
}

// A value for each unit from those of its channels.
ir::ChannelImportance of_units(std::span<const ir::ChannelGroup> groups, const auto& importance) {
  ir::ChannelImportance all;
  for (const ir::ChannelGroup& group : groups) {
    std::vector<double>& units = all.emplace_back();
    for (const ir::ChannelUnit& unit : group.units) units.push_back(importance(unit));
  }
  return all;
}

// The mean over the channels that `scores` knows; infinite if it knows none.
ir::ChannelImportance means(std::span<const ir::ChannelGroup> groups, const ByChannel& scores) {
  return of_units(groups, [&](const ir::ChannelUnit& unit) {
    double sum = 0;
    int count = 0;
    for (const ir::NodeChannel& at : unit.channels) {
      const auto found = scores.find(at.node);
      if (found == scores.end()) continue;
      sum += found->second[static_cast<std::size_t>(at.channel)];
      ++count;
    }
    return count > 0 ? sum / count : std::numeric_limits<double>::infinity();
  });
}

// Relative to the layer's mean.
ByChannel filter_norms(const NetworkModule& module, double power) {
  ByChannel norms;
  for (const auto& [node, layer] : module.fold().layers) {
    const auto out = static_cast<std::int64_t>(layer.bias.size());
    const torch::Tensor norm = torch::tensor(layer.weight, torch::kDouble).view({out, -1}).norm(power, 1);
    norms[node] = values(norm / norm.mean().clamp_min(1e-30));
  }
  return norms;
}

ByChannel batch_norm_scales(const NetworkModule& module) {
  ByChannel scales;
  for (std::size_t i = 0; i < module.network().nodes.size(); ++i) {
    if (const torch::Tensor* scale = find(module, i, "scale"))
      scales[static_cast<std::int32_t>(i)] = values(scale->abs());
  }
  return scales;
}

// Of one batch: the loss's derivative by a factor of the input channel, [in]; by node.
ByChannel gate_gradients(const NetworkModule& module) {
  ByChannel gradients;
  for (std::size_t i = 0; i < module.network().nodes.size(); ++i) {
    const torch::Tensor* weight = find(module, i, "weight");
    if (weight == nullptr) continue;
    const auto* convolution = std::get_if<ir::Convolution>(&module.network().nodes[i].operation);
    const std::int64_t groups = convolution == nullptr ? 1 : convolution->groups;
    // [groups, filters of a group, input channels of a group, the rest]
    gradients[static_cast<std::int32_t>(i)] =
        values((*weight * weight->grad()).view({groups, weight->size(0) / groups, weight->size(1), -1}).sum({1, 3}));
  }
  return gradients;
}

ir::ChannelImportance taylor(NetworkModule& module, std::span<const ir::ChannelGroup> groups, const ImageSplit& images,
                             std::int64_t batches) {
  const auto zero = [](const ir::ChannelUnit&) { return 0.0; };
  ir::ChannelImportance sums = of_units(groups, zero);
  BatchSource source(images, std::min(kBatch, images.size()), {}, /*seed=*/1);
  for (std::int64_t b = 0; b < batches; ++b) {
    const Batch batch = source.next();
    module.zero_grad();
    distillation_loss(module.forward(batch.images), batch.labels, {}, {}).backward();
    const ByChannel gradients = gate_gradients(module);
    const ir::ChannelImportance of_batch = of_units(groups, [&](const ir::ChannelUnit& unit) {
      double change = 0;
      for (const ir::NodeChannel& at : unit.read_by)
        change += gradients.at(at.node)[static_cast<std::size_t>(at.channel)];
      return change * change / static_cast<double>(batches);
    });
    for (std::size_t g = 0; g < sums.size(); ++g)
      std::ranges::transform(sums[g], of_batch[g], sums[g].begin(), std::plus<>());
  }
  module.zero_grad();
  return sums;
}

}  // namespace

const char* to_string(ImportanceCriterion criterion) {
  return kNames[static_cast<std::size_t>(criterion)];
}

std::expected<ImportanceCriterion, Error> parse_importance(const std::string& name) {
  std::string known;
  for (std::size_t i = 0; i < std::size(kNames); ++i) {
    if (name == kNames[i]) return static_cast<ImportanceCriterion>(i);
    known += (known.empty() ? "" : ", ") + std::string(kNames[i]);
  }
  return std::unexpected(Error{std::format("unknown importance criterion '{}'; known: {}", name, known)});
}

search::ChannelImportance channel_importance(NetworkModule& module, std::span<const search::ChannelGroup> groups,
                                             ImportanceCriterion criterion, const ImageSplit& images,
                                             std::int64_t batches) {
  module.eval();
  switch (criterion) {
    case ImportanceCriterion::l1:
      return means(groups, filter_norms(module, 1));
    case ImportanceCriterion::l2:
      return means(groups, filter_norms(module, 2));
    case ImportanceCriterion::batch_norm:
      return means(groups, batch_norm_scales(module));
    case ImportanceCriterion::taylor:
      break;
  }
  return taylor(module, groups, images, batches);
}

}  // namespace finch::trainer
