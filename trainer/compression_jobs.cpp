#include "trainer/compression_jobs.hpp"

#include <format>
#include <fstream>
#include <iterator>

#include "search/cost_model.hpp"
#include "trainer/active_clock.hpp"
#include "trainer/compression_step.hpp"
#include "trainer/export.hpp"
#include "trainer/image_set.hpp"
#include "trainer/job_settings.hpp"
#include "trainer/model_import.hpp"
#include "trainer/model_size.hpp"
#include "trainer/safetensors.hpp"
#include "trainer/soft_targets.hpp"

namespace finch::trainer {
namespace {

using Result = std::expected<protocol::JobResult, Error>;

constexpr std::int64_t kStatisticsImages = 500;

std::expected<void, Error> write_model(const Model& model, const Dataset& dataset, JobOutput& output, double begin,
                                       protocol::CompressedModel& result) {
  const OnnxMetadata metadata{.space = {},
                              .genotype = {},
                              .campaign = model.origin,
                              .class_names = model.class_names.empty() ? dataset.class_names : model.class_names};
  const std::vector<std::string> precisions = {model.precision};
  const auto exported =
      export_models(*model.module, dataset.train, {}, metadata, precisions, output.part(begin, 1, "exporting"));
  if (!exported) return std::unexpected(exported.error());
  const std::string& bytes = exported->models.front().bytes;
  auto file = output.write(bytes);
  if (!file) return std::unexpected(file.error());
  auto artifact = output.write(serialize_model(model));
  if (!artifact) return std::unexpected(artifact.error());
  *result.mutable_model() = std::move(*artifact);
  result.mutable_file()->set_precision(model.precision);
  *result.mutable_file()->mutable_artifact() = std::move(*file);
  const search::Cost cost = search::cost_of(model.module->network());
  result.set_parameters(cost.parameters);
  result.set_macs(cost.macs);
  result.set_compressed_bytes(compressed_bytes(bytes));
  return {};
}

std::expected<Model, Error> read_onnx(const protocol::ReadModel& job, const std::filesystem::path& path,
                                      const Dataset& dataset, protocol::CompressedModel& result) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::optional<Normalization> normalization;
  if (job.mean_size() > 0) {
    normalization = {{job.mean().begin(), job.mean().end()}, {job.stddev().begin(), job.stddev().end()}};
  }
  const ImageSplit& images = dataset.train;
  auto imported = import_onnx(bytes, {images.channels, images.height, images.width}, normalization);
  if (!imported) return std::unexpected(Error{std::format("{}: {}", job.origin(), imported.error().message)});
  result.mutable_notes()->Add(imported->notes.begin(), imported->notes.end());
  Model model{.module = nullptr, .precision = "fp32", .class_names = imported->class_names, .origin = job.origin()};
  model.module = with_batch_norm(module_of(std::move(*imported)), images, kStatisticsImages);
  return model;
}

std::expected<Model, Error> read_described(const protocol::ReadModel& job, const std::filesystem::path& path,
                                           const Dataset& dataset) {
  auto network = decode(job.space(), job.genotype(), dataset);
  if (!network) return std::unexpected(network.error());
  const auto tensors = load_weights(path);
  if (!tensors) return std::unexpected(tensors.error());
  Model model{.module = nullptr, .precision = "fp32", .class_names = {}, .origin = job.origin()};
  model.module = std::make_unique<NetworkModule>(std::move(*network), dataset.mean, dataset.stddev);
  const std::int64_t found = model.module->inherit(*tensors);
  if (found != std::ssize(model.module->state())) {
    return std::unexpected(Error{std::format("{}: only {} of the network's {} tensors are in its weights", job.origin(),
                                             found, model.module->state().size())});
  }
  model.module->eval();
  return model;
}

}  // namespace

Result read_model(const protocol::ReadModel& job, const Dataset& dataset, const ArtifactPath& input,
                  JobOutput& output) {
  if (auto valid = need_validation(dataset); !valid) return std::unexpected(valid.error());
  const ActiveClock clock;
  const auto path = input(job.file());
  if (!path) return std::unexpected(path.error());
  protocol::JobResult result;
  protocol::CompressedModel& read = *result.mutable_compressed_model();
  const auto model = job.has_space() ? read_described(job, *path, dataset) : read_onnx(job, *path, dataset, read);
  if (!model) return std::unexpected(model.error());
  const std::int64_t classes = model->module->network().output_shape().channels;
  if (classes != std::ssize(dataset.class_names)) {
    return std::unexpected(Error{std::format("{}: the model tells {} classes apart, the data has {}", job.origin(),
                                             classes, dataset.class_names.size())});
  }
  if (auto written = write_model(*model, dataset, output, 0.5, read); !written) return std::unexpected(written.error());
  auto images = write_image_set({&dataset.validation}, dataset.class_names, output);
  if (!images) return std::unexpected(images.error());
  *read.mutable_validation_set() = std::move(*images);
  read.set_seconds(clock.seconds());
  return result;
}

Result compress_model(const protocol::CompressModel& job, const Dataset& dataset, const ArtifactPath& input,
                      JobOutput& output) {
  const ActiveClock clock;
  const auto path = input(job.model());
  if (!path) return std::unexpected(path.error());
  auto model = load_model(*path);
  if (!model) return std::unexpected(model.error());
  CompressionSteps steps;
  register_builtin_compression_steps(steps);
  const auto step = steps.make(job.step());
  if (!step) return std::unexpected(step.error());
  CompressionTask task{.dataset = dataset,
                       .amount = job.amount(),
                       .training = {},
                       .soft_targets = {},
                       .progress = output.part(0, 0.9, job.step())};
  protocol::Recipe recipe = job.recipe();
  if (job.step() == "distill") recipe.set_epochs(job.amount());
  if (recipe.epochs() > 0) {
    const auto options = training_options(recipe, dataset);
    if (!options) return std::unexpected(options.error());
    task.training = *options;
    if (job.has_soft_targets()) {
      const auto targets = input(job.soft_targets());
      if (!targets) return std::unexpected(targets.error());
      const auto loaded = load_soft_targets(*targets, dataset, recipe.flip());
      if (!loaded) return std::unexpected(loaded.error());
      task.soft_targets = *loaded;
    }
  }
  protocol::JobResult result;
  protocol::CompressedModel& compressed = *result.mutable_compressed_model();
  std::vector<std::string> notes;
  const auto changed = (*step)->apply(std::move(*model), task, notes);
  if (!changed) return std::unexpected(changed.error());
  compressed.mutable_notes()->Add(notes.begin(), notes.end());
  if (auto written = write_model(*changed, dataset, output, 0.9, compressed); !written)
    return std::unexpected(written.error());
  compressed.set_seconds(clock.seconds());
  return result;
}

}  // namespace finch::trainer
