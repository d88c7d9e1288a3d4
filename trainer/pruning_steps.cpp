// "prune" and "cluster" as steps of compression.
#include <cmath>
#include <format>

#include "trainer/channel_pruning.hpp"
#include "trainer/compression_step.hpp"
#include "trainer/weight_clustering.hpp"

namespace finch::trainer {
namespace {

// Channels in whole blocks where the target can be reached so, else in smaller ones.
constexpr std::int64_t kMultiples[] = {8, 4, 1};

class Prune : public CompressionStep {
 public:
  std::expected<Model, Error> apply(Model model, const CompressionTask& task,
                                    std::vector<std::string>& notes) override {
    ChannelPruning options;
    options.target.keep = 1 - task.amount;
    std::expected<CompressedModule, Error> pruned = std::unexpected(Error{""});
    for (const std::int64_t multiple : kMultiples) {
      options.target.multiple = options.target.min_channels = multiple;
      pruned = prune_channels(*model.module, task.dataset.train, options);
      if (pruned) break;
    }
    if (!pruned) return std::unexpected(pruned.error());
    notes.push_back(std::format(
        "{:.0f} % of the MACs and {:.0f} % of the parameters stay, channels in multiples of {}",
        100 * static_cast<double>(pruned->after.macs) / static_cast<double>(pruned->before.macs),
        100 * static_cast<double>(pruned->after.parameters) / static_cast<double>(pruned->before.parameters),
        options.target.multiple));
    model.module = std::move(pruned->module);
    return fine_tune(model, task).transform([&] { return std::move(model); });
  }
};

class Cluster : public CompressionStep {
 public:
  std::expected<Model, Error> apply(Model model, const CompressionTask& task,
                                    std::vector<std::string>& notes) override {
    WeightClustering options;
    options.bits = static_cast<int>(std::lround(task.amount));
    auto clustered = cluster_weights(*model.module, options);
    if (!clustered) return std::unexpected(clustered.error());
    model.module = std::move(clustered->module);
    if (task.training) model.module->move_to(task.training->device);  // where what the constraint keeps is needed
    const auto constraint = keep_shared_values(*model.module);
    if (auto trained = fine_tune(model, task, constraint.get()); !trained) return std::unexpected(trained.error());
    const SharedSize size = shared_size(*model.module);
    notes.push_back(
        std::format("stored as indices the weights would take {:.1f} KiB, {:.1f} KiB in Huffman's code, of {:.1f}",
                    static_cast<double>(size.indexed_bytes) / 1024, static_cast<double>(size.huffman_bytes) / 1024,
                    static_cast<double>(size.dense_bytes) / 1024));
    return model;
  }
};

}  // namespace

void register_pruning_steps(CompressionSteps& steps) {
  steps.add("prune", [] { return std::make_unique<Prune>(); });
  steps.add("cluster", [] { return std::make_unique<Cluster>(); });
}

}  // namespace finch::trainer
