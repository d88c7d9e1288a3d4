#include "trainer/compression_jobs.hpp"

#include <algorithm>
#include <format>
#include <fstream>
#include <iterator>

#include "search/cost_model.hpp"
#include "search/search_space.hpp"
#include "trainer/active_clock.hpp"
#include "trainer/compression_step.hpp"
#include "trainer/export.hpp"
#include "trainer/image_set.hpp"
#include "trainer/job_settings.hpp"
#include "trainer/model_import.hpp"
#include "trainer/model_size.hpp"
#include "trainer/quantize.hpp"
#include "trainer/safetensors.hpp"
#include "trainer/soft_targets.hpp"

namespace finch::trainer {
namespace {

using Result = std::expected<protocol::JobResult, Error>;

constexpr std::int64_t kStatisticsImages = 500;
constexpr double kSomeEpochs = 1;  // a recipe has some, though nothing is trained

// How the int8 file of a model comes to be.
struct Quantizing {
  QuantizeOptions options;
  torch::Tensor soft_targets;  // of training with fake quantization; undefined: labels only
};

std::expected<std::string, Error> float_file(const Model& model, const OnnxMetadata& metadata) {
  NetworkWeights weights = model.module->fold();
  flush_denormals(weights);
  return export_fp32(model.module->network(), weights, metadata, kOnnx);
}

std::expected<std::string, Error> deployed_file(const Model& model, const Dataset& dataset,
                                                const OnnxMetadata& metadata, const Quantizing& quantizing,
                                                const ProgressReport& progress, protocol::CompressedModel& result) {
  if (model.precision == "fp32") return float_file(model, metadata);
  if (model.precision != "int8") return std::unexpected(unknown_precision(model.precision));
  const auto quantized = quantize(*model.module, dataset, quantizing.soft_targets, quantizing.options, progress);
  if (!quantized) return std::unexpected(quantized.error());
  *result.mutable_quantization() = quantization_message(quantized->report);
  return export_int8(model.module->network(), *quantized, metadata, kOnnx);
}

std::expected<void, Error> write_model(const Model& model, const Dataset& dataset, const Quantizing& quantizing,
                                       JobOutput& output, double begin, protocol::CompressedModel& result) {
  const OnnxMetadata metadata{.space = model.space,
                              .genotype = model.genotype,
                              .campaign = model.origin,
                              .class_names = model.class_names.empty() ? dataset.class_names : model.class_names};
  const auto bytes = deployed_file(model, dataset, metadata, quantizing, output.part(begin, 1, "exporting"), result);
  if (!bytes) return std::unexpected(bytes.error());
  const auto keep = [&](const std::expected<std::string, Error>& content, protocol::ArtifactRef& artifact) {
    return content.and_then([&](const std::string& text) { return output.write(text); })
        .transform([&](protocol::ArtifactRef&& written) { artifact = std::move(written); });
  };
  result.mutable_file()->set_precision(model.precision);
  if (auto kept = keep(*bytes, *result.mutable_file()->mutable_artifact()); !kept) return kept;
  if (auto kept = keep(serialize_model(model), *result.mutable_model()); !kept) return kept;
  const auto tensors = serialize_safetensors(
      model.module->state(), {{"space", model.space}, {"genotype", model.genotype}, {"campaign", model.origin}});
  if (auto kept = keep(tensors, *result.mutable_safetensors()); !kept) return kept;
  if (model.precision != "fp32") {
    result.mutable_fp32_file()->set_precision("fp32");
    if (auto kept = keep(float_file(model, metadata), *result.mutable_fp32_file()->mutable_artifact()); !kept)
      return kept;
  }
  const search::Cost cost = search::cost_of(model.module->network());
  result.set_parameters(cost.parameters);
  result.set_macs(cost.macs);
  result.set_peak_activation_bytes(cost.peak_activation_bytes);
  result.set_compressed_bytes(compressed_bytes(*bytes));
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
  if (job.has_shape() && job.shape().name() != imported->input) {
    return std::unexpected(Error{std::format("{}: its input is '{}'; there is none named '{}'", job.origin(),
                                             imported->input, job.shape().name())});
  }
  result.mutable_notes()->Add(imported->notes.begin(), imported->notes.end());
  Model model{.module = nullptr,
              .precision = "fp32",
              .class_names = imported->class_names,
              .origin = job.origin(),
              .space = {},
              .genotype = {}};
  model.module = with_batch_norm(module_of(std::move(*imported)), images, kStatisticsImages);
  return model;
}

std::expected<Model, Error> read_described(const protocol::ReadModel& job, const std::filesystem::path& path,
                                           const Dataset& dataset) {
  auto network = decode(job.space(), job.genotype(), dataset);
  if (!network) return std::unexpected(network.error());
  const auto tensors = load_weights(path);
  if (!tensors) return std::unexpected(tensors.error());
  Model model{.module = nullptr,
              .precision = "fp32",
              .class_names = {},
              .origin = job.origin(),
              .space = job.space().name(),
              .genotype = search::to_string(search::Genotype(job.genotype().begin(), job.genotype().end()))};
  model.module = std::make_unique<NetworkModule>(std::move(*network), dataset.mean, dataset.stddev);
  const std::int64_t found = model.module->inherit(*tensors);
  if (found != std::ssize(model.module->state())) {
    return std::unexpected(Error{std::format("{}: only {} of the network's {} tensors are in its weights", job.origin(),
                                             found, model.module->state().size())});
  }
  model.module->eval();
  return model;
}

std::expected<void, Error> check_shape(const protocol::ReadModel& job, const ImageSplit& images) {
  const auto& extents = job.shape().extents();
  if (!job.has_shape() || (extents.size() == 4 && extents[1] == images.channels && extents[2] == images.height &&
                           extents[3] == images.width))
    return {};
  return std::unexpected(
      Error{std::format("the shape of '{}' does not fit the data: images are N x {} x {} x {} (batch, channels, "
                        "height, width)",
                        job.shape().name(), images.channels, images.height, images.width)});
}

}  // namespace

Result read_model(const protocol::ReadModel& job, const Dataset& dataset, const ArtifactPath& input,
                  JobOutput& output) {
  if (auto valid = need_validation(dataset); !valid) return std::unexpected(valid.error());
  if (auto fits = check_shape(job, dataset.train); !fits) return std::unexpected(fits.error());
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
  if (auto written = write_model(*model, dataset, {}, output, 0.5, read); !written)
    return std::unexpected(written.error());
  auto images = write_image_set({&dataset.validation}, dataset.class_names, output);
  if (!images) return std::unexpected(images.error());
  *read.mutable_validation_set() = std::move(*images);
  read.set_seconds(clock.seconds());
  return result;
}

Result compress_model(const protocol::CompressModel& job, const Dataset& dataset, const ArtifactPath& input,
                      JobOutput& output, torch::Device device) {
  if (auto valid = need_validation(dataset); !valid) return std::unexpected(valid.error());
  const ActiveClock clock;
  const auto path = input(job.model());
  if (!path) return std::unexpected(path.error());
  auto model = load_model(*path);
  if (!model) return std::unexpected(model.error());
  CompressionSteps steps;
  register_builtin_compression_steps(steps);
  const auto step = steps.make(job.step());
  if (!step) return std::unexpected(step.error());
  // Quantization may train; the step quantize does nothing else.
  const double exporting_from = job.step() == "quantize" ? 0 : model->precision == "int8" ? 0.5 : 0.9;
  const auto soft_targets = soft_targets_of(job, dataset, input);
  if (!soft_targets) return std::unexpected(soft_targets.error());
  CompressionTask task{.dataset = dataset,
                       .amount = job.amount(),
                       .training = {},
                       .soft_targets = *soft_targets,
                       .progress = output.part(0, exporting_from, job.step())};
  protocol::Recipe recipe = job.recipe();
  if (job.step() == "distill") recipe.set_epochs(job.amount());
  if (recipe.epochs() > 0) {
    const auto options = training_options(recipe, dataset, device);
    if (!options) return std::unexpected(options.error());
    task.training = *options;
  }
  if (job.has_quantize()) recipe.set_epochs(std::max(job.quantize().qat_epochs(), kSomeEpochs));
  const auto qat = job.has_quantize() ? training_options(recipe, dataset, device) : TrainingOptions();
  if (!qat) return std::unexpected(qat.error());
  const auto quantizing = quantize_options_of(job, *qat);
  if (!quantizing) return std::unexpected(quantizing.error());
  protocol::JobResult result;
  protocol::CompressedModel& compressed = *result.mutable_compressed_model();
  std::vector<std::string> notes;
  const auto changed = (*step)->apply(std::move(*model), task, notes);
  if (!changed) return std::unexpected(changed.error());
  compressed.mutable_notes()->Add(notes.begin(), notes.end());
  if (auto written = write_model(*changed, dataset, {*quantizing, *soft_targets}, output, exporting_from, compressed);
      !written)
    return std::unexpected(written.error());
  compressed.set_seconds(clock.seconds());
  return result;
}

}  // namespace finch::trainer
