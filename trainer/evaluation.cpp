#include "trainer/evaluation.hpp"

#include <algorithm>

#include "trainer/batch_source.hpp"

namespace finch::trainer {
namespace {

constexpr std::int64_t kBatch = 250;

}  // namespace

torch::Tensor logits_of(const Classifier& classifier, const ImageSplit& split,
                        const std::function<void(double fraction)>& progress) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> logits;
  for (std::int64_t first = 0; first < split.size(); first += kBatch) {
    const std::int64_t count = std::min(kBatch, split.size() - first);
    logits.push_back(classifier(plain_images(split, first, count)));
    if (progress) progress(static_cast<double>(first + count) / static_cast<double>(split.size()));
  }
  return torch::cat(logits).cpu();
}

double top1(const Classifier& classifier, const ImageSplit& split,
            const std::function<void(double fraction)>& progress) {
  const torch::Tensor labels = torch::tensor(split.labels, torch::kLong);
  return logits_of(classifier, split, progress).argmax(1).eq(labels).to(torch::kDouble).mean().item<double>();
}

ConfusionCounts confusion(const Classifier& classifier, const ImageSplit& split,
                          const std::function<void(double fraction)>& progress) {
  const torch::Tensor predictions = logits_of(classifier, split, progress).argmax(1);
  const auto* prediction = predictions.data_ptr<std::int64_t>();
  ConfusionCounts counts;
  for (const auto label : split.labels)
    ++counts[{static_cast<std::int32_t>(label), static_cast<std::int32_t>(*prediction++)}];
  return counts;
}

double top1(const ConfusionCounts& counts) {
  std::int64_t right = 0, all = 0;
  for (const auto& [pair, count] : counts) {
    if (pair.first == pair.second) right += count;
    all += count;
  }
  return static_cast<double>(right) / static_cast<double>(all);
}

}  // namespace finch::trainer
