// What pruning and clustering save and cost: a network of the mobilenet space is trained on Fashion-MNIST, then pruned
// or clustered in several ways, each fine-tuned with its own former answers as the teacher's. Writes every model to
// FOLDER as ONNX, for `finch bench FOLDER/*.onnx`.
//   build/release/bin/compression_study FOLDER
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <format>
#include <fstream>
#include <iostream>

#include "search/search_space.hpp"
#include "trainer/channel_pruning.hpp"
#include "trainer/dataset.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/export.hpp"
#include "trainer/soft_targets.hpp"
#include "trainer/training.hpp"
#include "trainer/weight_clustering.hpp"
#include "trainer/weight_constraint.hpp"
#include "trainer/weight_pruning.hpp"

namespace finch::trainer {
namespace {

constexpr double kLearningRate = 0.01;

struct Settings {
  std::filesystem::path folder;
  std::string data = "/usr/share/datasets/fashion-mnist";
  double epochs = 2, fine_tuning = 0.5;
  int threads = 2;
};

template <typename T>
T need(std::expected<T, Error> value) {
  if (!value) {
    std::cerr << value.error().message << '\n';
    std::exit(1);
  }
  return std::move(*value);
}

using Constraint = std::unique_ptr<WeightConstraint> (*)(const NetworkModule&);

class Study {
 public:
  explicit Study(const Settings& settings)
      : settings_(settings),
        data_(need(load_dataset({.format = "idx", .path = settings.data, .validation_samples = 5000}))) {
    at::set_num_threads(settings.threads);
    at::globalContext().setFlushDenormal(true);
    std::filesystem::create_directories(settings.folder);
  }

  void run() {
    torch::manual_seed(1);
    NetworkModule base(network(), data_.mean, data_.stddev);
    train(base, settings_.epochs, kLearningRate, nullptr);
    const Classifier classifier = [&](const torch::Tensor& images) { return base.forward(images); };
    base.eval();
    soft_targets_ = compute_soft_targets(classifier, data_.train, /*mirrored=*/false, [](double) {});
    print_header();
    CompressedModule unchanged{.module = copy_of(base), .before = need(model_size(base)), .after = {}};
    unchanged.after = unchanged.before;
    report("trained", std::move(unchanged), nullptr);

    for (const ImportanceCriterion criterion :
         {ImportanceCriterion::l2, ImportanceCriterion::batch_norm, ImportanceCriterion::taylor}) {
      report(std::format("channels-{}-50", to_string(criterion)),
             need(prune_channels(base, data_.train, {.criterion = criterion, .target = {.keep = 0.5}})), nullptr);
    }
    report("channels-taylor-30", need(prune_channels(base, data_.train, {.target = {.keep = 0.3}})), nullptr);
    for (const double sparsity : {0.5, 0.8})
      report(std::format("weights-{:.0f}", 100 * sparsity), need(prune_weights(base, UnstructuredSparsity{sparsity})),
             keep_zeros);
    report("weights-2of4", need(prune_weights(base, BlockSparsity{})), keep_zeros);
    for (const int bits : {6, 4, 3, 2})
      report(std::format("clustered-{}bit", bits), need(cluster_weights(base, {.bits = bits})), keep_shared_values);
  }

 private:
  // Width 1, 28 x 28, two blocks a stage of 3x3 kernels and an expansion of 4.
  static search::Network network() {
    const auto space = search::make_search_space({"mobilenet", {1, 28, 28}, 10}).value();
    search::Genotype genotype = space->smallest();
    for (std::size_t i = 0; i < genotype.size(); ++i) {
      const std::string& name = space->decisions()[i].name;
      if (name == "resolution" || name == "width_multiplier" || name.ends_with(".expand_ratio")) genotype[i] = 2;
      if (name.ends_with(".depth")) genotype[i] = 1;
    }
    return space->decode(space->canonical(genotype)).value();
  }

  void train(NetworkModule& module, double epochs, double learning_rate, const WeightConstraint* constraint) const {
    Training training(module, data_.train, soft_targets_,
                      {.epochs = epochs,
                       .learning_rate = learning_rate,
                       .loss = {.label_smoothing = 0.05, .temperature = 2, .distillation_weight = 0.5},
                       .augmentation = {}});
    if (constraint != nullptr) training.keep(*constraint);
    need(trainer::run(training, [](double) {}));
  }

  double accuracy(NetworkModule& module) const {
    module.eval();
    return top1([&](const torch::Tensor& images) { return module.forward(images); }, data_.test);
  }

  static void print_header() {
    std::cout << std::format("{:24} {:>7} {:>7} {:>9} {:>6} {:>9} {:>9} {:>9} {:>9}\n", "model", "before", "after",
                             "MACs", "zeros", "file", "gzip", "indexed", "huffman");
  }

  // Accuracy before and after fine-tuning on the test images; sizes in bytes.
  void report(const std::string& name, CompressedModule step, Constraint constraint) const {
    const double before = accuracy(*step.module);
    if (name != "trained") {
      const auto kept = constraint == nullptr ? nullptr : constraint(*step.module);
      // Without BatchNorm, which clustering folds in, steps must be smaller.
      const double share = constraint == keep_shared_values ? 0.1 : 0.3;
      train(*step.module, settings_.fine_tuning, share * kLearningRate, kept.get());
    }
    const double after = accuracy(*step.module);
    const ModelSize size = need(model_size(*step.module));
    const SharedSize shared = shared_size(*step.module);
    std::cout << std::format("{:24} {:6.2f}% {:6.2f}% {:9} {:5.1f}% {:9} {:9} {:9} {:9}\n", name, 100 * before,
                             100 * after, size.macs, 100 * size.sparsity(), size.file_bytes, size.compressed_file_bytes,
                             shared.indexed_bytes, shared.huffman_bytes)
              << std::flush;
    const std::string precisions[] = {"fp32"};
    const ExportedModels files = need(export_models(*step.module, data_.train, {}, {}, precisions, [](double) {}));
    std::ofstream(settings_.folder / (name + ".onnx"), std::ios::binary) << files.models.front().bytes;
  }

  Settings settings_;
  Dataset data_;
  torch::Tensor soft_targets_;
};

}  // namespace
}  // namespace finch::trainer

int main(int count, char** arguments) {
  finch::trainer::Settings settings;
  CLI::App app("What pruning and clustering save and cost, on Fashion-MNIST.");
  app.add_option("folder", settings.folder, "where the models are written")->required();
  app.add_option("--data", settings.data, "folder of Fashion-MNIST");
  app.add_option("--epochs", settings.epochs, "of the network before compression");
  app.add_option("--fine-tuning", settings.fine_tuning, "epochs after each compression");
  app.add_option("--threads", settings.threads);
  CLI11_PARSE(app, count, arguments);
  finch::trainer::Study(settings).run();
}
