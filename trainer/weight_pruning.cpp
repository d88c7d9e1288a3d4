#include "trainer/weight_pruning.hpp"

#include <cmath>
#include <format>
#include <string>
#include <vector>

namespace finch::trainer {
namespace {

// [weights] w^2 / sum of all squares of the layer that are as great or greater.
torch::Tensor lamp_scores(const torch::Tensor& weight) {
  const auto [squares, order] = weight.flatten().to(torch::kDouble).square().sort(/*stable=*/true, 0, false);
  const torch::Tensor as_great = squares.flip(0).cumsum(0).flip(0);
  return torch::zeros_like(squares).index_put_({order}, squares / as_great.clamp_min(1e-300));
}

std::expected<void, Error> prune(NetworkModule& module, const UnstructuredSparsity& pattern) {
  if (!(pattern.sparsity > 0 && pattern.sparsity < 1)) {
    return std::unexpected(
        Error{std::format("the sparsity is a fraction above 0 and below 1, not {}", pattern.sparsity)});
  }
  const NetworkWeights deployed = module.fold();
  std::vector<torch::Tensor> scores, weights;
  for (const auto& [node, layer] : deployed.layers) {
    weights.push_back(module.state().at(module.network().nodes[static_cast<std::size_t>(node)].name + ".weight"));
    scores.push_back(lamp_scores(torch::tensor(layer.weight)));
  }
  const torch::Tensor all = torch::cat(scores);
  const auto removed = static_cast<std::int64_t>(pattern.sparsity * static_cast<double>(all.numel()));
  const torch::Tensor mask = torch::ones({all.numel()});
  mask.index_fill_(0, all.argsort(/*stable=*/true, 0, false).slice(0, 0, removed), 0);
  std::int64_t first = 0;
  for (const torch::Tensor& weight : weights) {
    weight.detach().mul_(mask.slice(0, first, first + weight.numel()).view(weight.sizes()));
    first += weight.numel();
  }
  return {};
}

std::expected<void, Error> prune(NetworkModule& module, const BlockSparsity& pattern) {
  if (pattern.keep < 1 || pattern.of <= pattern.keep) {
    return std::unexpected(Error{std::format("{}:{} is no sparsity: at least 1 weight stays, and fewer than there are",
                                             pattern.keep, pattern.of)});
  }
  bool any = false;
  for (const auto& [name, weight] : module.filters()) {
    if (weight.size(1) % pattern.of != 0) continue;
    any = true;
    const torch::Tensor blocks = weight.detach().movedim(1, -1).reshape({-1, pattern.of});
    const torch::Tensor greatest = std::get<1>(blocks.abs().topk(pattern.keep, 1));
    const torch::Tensor mask = torch::zeros_like(blocks).scatter_(1, greatest, 1);
    weight.detach().mul_(mask.view(weight.detach().movedim(1, -1).sizes()).movedim(-1, 1));
  }
  if (!any) {
    return std::unexpected(
        Error{std::format("no layer's input channels are a multiple of {}: {}:{} sparsity has nothing to remove",
                          pattern.of, pattern.keep, pattern.of)});
  }
  return {};
}

}  // namespace

std::expected<CompressedModule, Error> prune_weights(const NetworkModule& module, const SparsityPattern& pattern) {
  const torch::NoGradGuard no_grad;
  const auto before = model_size(module);
  if (!before) return std::unexpected(before.error());
  CompressedModule result{.module = copy_of(module), .before = *before, .after = {}};
  const auto pruned = std::visit([&](const auto& chosen) { return prune(*result.module, chosen); }, pattern);
  if (!pruned) return std::unexpected(pruned.error());
  const auto after = model_size(*result.module);
  if (!after) return std::unexpected(after.error());
  result.after = *after;
  return result;
}

}  // namespace finch::trainer
