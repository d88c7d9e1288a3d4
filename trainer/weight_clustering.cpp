#include "trainer/weight_clustering.hpp"

#include <algorithm>
#include <bit>
#include <format>
#include <functional>
#include <queue>
#include <vector>

#include "trainer/k_means.hpp"

namespace finch::trainer {
namespace {

constexpr std::int64_t kFloatBytes = sizeof(float);

void share_values(torch::Tensor weight, const WeightClustering& options) {
  const torch::Tensor flat = weight.detach().flatten();
  const std::span<float> values(flat.data_ptr<float>(), static_cast<std::size_t>(flat.numel()));
  std::vector<float> nonzero;
  std::ranges::copy_if(values, std::back_inserter(nonzero), [](float value) { return value != 0; });
  if (nonzero.empty()) return;
  const std::int64_t clusters = (std::int64_t{1} << options.bits) - (nonzero.size() < values.size() ? 1 : 0);
  const std::vector<float> centroids = k_means(nonzero, clusters, options.seed);
  for (float& value : values) {
    if (value != 0) value = centroids[nearest(centroids, value)];
  }
}

std::int64_t bytes_of(std::int64_t bits) {
  return (bits + 7) / 8;
}

// Huffman 1952: all symbols' codes together; each merge of two subtrees adds a bit to every symbol below. A symbol that
// is alone needs no bit.
std::int64_t huffman_bits(std::span<const std::int64_t> counts) {
  std::priority_queue<std::int64_t, std::vector<std::int64_t>, std::greater<>> trees(counts.begin(), counts.end());
  std::int64_t bits = 0;
  while (trees.size() > 1) {
    const std::int64_t least = trees.top();
    trees.pop();
    const std::int64_t merged = least + trees.top();
    trees.pop();
    bits += merged;
    trees.push(merged);
  }
  return bits;
}

}  // namespace

std::expected<CompressedModule, Error> cluster_weights(const NetworkModule& module, const WeightClustering& options) {
  if (options.bits < 1 || options.bits > 8)
    return std::unexpected(Error{std::format("clustering takes 1 to 8 bits a weight, not {}", options.bits)});
  const auto before = model_size(module);
  if (!before) return std::unexpected(before.error());
  CompressedModule result{.module = fold_batch_norm(module), .before = *before, .after = {}};
  for (const auto& [name, weight] : result.module->filters()) share_values(weight, options);
  const auto after = model_size(*result.module);
  if (!after) return std::unexpected(after.error());
  result.after = *after;
  return result;
}

SharedSize shared_size(const NetworkModule& module) {
  SharedSize size;
  for (const auto& [node, layer] : module.fold().layers) {
    const auto [values, inverse, counts] = torch::_unique2(torch::tensor(layer.weight), true, false, true);
    const std::int64_t distinct = values.numel(), weights = std::ssize(layer.weight);
    const std::int64_t biases = std::ssize(layer.bias) * kFloatBytes, codebook = distinct * kFloatBytes;
    const std::int64_t index_bits = std::bit_width(static_cast<std::uint64_t>(distinct - 1));
    const std::vector<std::int64_t> frequencies(counts.data_ptr<std::int64_t>(),
                                                counts.data_ptr<std::int64_t>() + distinct);
    const std::int64_t dense = weights * kFloatBytes;
    const std::int64_t indexed = std::min(dense, codebook + bytes_of(weights * index_bits));
    const std::int64_t huffman = std::min(indexed, codebook + distinct + bytes_of(huffman_bits(frequencies)));
    size.dense_bytes += biases + dense;
    size.indexed_bytes += biases + indexed;
    size.huffman_bytes += biases + huffman;
  }
  return size;
}

}  // namespace finch::trainer
