#include "trainer/exported_files.hpp"

#include <optional>
#include <string>
#include <vector>

#include "search/search_space.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/export.hpp"
#include "trainer/job_settings.hpp"
#include "trainer/quantize.hpp"
#include "trainer/safetensors.hpp"

namespace finch::trainer {
namespace {

using Files = google::protobuf::RepeatedPtrField<protocol::ExportedFile>;

OnnxMetadata metadata(const protocol::SpaceSpec& space, const auto& genotype, const Dataset& dataset) {
  return {.space = space.name(),
          .genotype = search::to_string(search::Genotype(genotype.begin(), genotype.end())),
          .campaign = {},
          .class_names = dataset.class_names};
}

// Writes a model and appends it to `files`.
std::expected<protocol::ExportedFile*, Error> add(const std::string& precision, std::string_view format,
                                                  const std::expected<std::string, Error>& bytes, JobOutput& output,
                                                  Files& files) {
  if (!bytes) return std::unexpected(bytes.error());
  auto artifact = output.write(*bytes);
  if (!artifact) return std::unexpected(artifact.error());
  protocol::ExportedFile& file = *files.Add();
  file.set_precision(precision);
  file.set_format(std::string(format));
  *file.mutable_artifact() = std::move(*artifact);
  return &file;
}

}  // namespace

std::expected<void, Error> export_trained(NetworkModule& module, const protocol::TrainCandidate& job,
                                          const Dataset& dataset, const TrainingOptions& recipe,
                                          const torch::Tensor& soft_targets, JobOutput& output,
                                          protocol::TrainedCandidate& trained) {
  if (job.precisions().empty()) return {};
  OnnxMetadata about = metadata(job.space(), job.genotype(), dataset);
  about.campaign = job.metadata().campaign();
  if (job.metadata().class_names_size() > 0) {
    about.class_names.assign(job.metadata().class_names().begin(), job.metadata().class_names().end());
  }
  std::vector<std::string> formats(job.formats().begin(), job.formats().end());
  if (formats.empty()) formats.emplace_back(kOnnx);
  Files& files = *trained.mutable_files();
  for (const std::string& precision : job.precisions()) {
    if (precision == "int8") {
      const auto options = quantize_options_of(job, recipe);
      if (!options) return std::unexpected(options.error());
      const auto quantized = quantize(module, dataset, soft_targets, *options, output.part(0.7, 1, "quantizing"));
      if (!quantized) return std::unexpected(quantized.error());
      *trained.mutable_quantization() = quantization_message(quantized->report);
      for (const std::string& format : formats) {
        const auto file =
            add(precision, format, export_int8(module.network(), *quantized, about, format), output, files);
        if (!file) return std::unexpected(file.error());
        // The other format rounds at other places than the trainer does.
        if (format == kOnnx && quantized->report.test_top1) (*file)->set_test_top1(*quantized->report.test_top1);
      }
    } else if (precision == "fp32") {
      NetworkWeights weights = module.fold();
      trained.set_flushed_weights(flush_denormals(weights));
      std::optional<double> test_top1;
      if (dataset.test.size() > 0) {
        module.eval();
        test_top1 = top1([&](const torch::Tensor& images) { return module.forward(images); }, dataset.test);
      }
      for (const std::string& format : formats) {
        const auto file = add(precision, format, export_fp32(module.network(), weights, about, format), output, files);
        if (!file) return std::unexpected(file.error());
        if (test_top1) (*file)->set_test_top1(*test_top1);
      }
    } else {
      return std::unexpected(unknown_precision(precision));
    }
  }
  const auto tensors = serialize_safetensors(
      module.state(), {{"space", about.space}, {"genotype", about.genotype}, {"campaign", about.campaign}});
  if (!tensors) return std::unexpected(tensors.error());
  auto artifact = output.write(*tensors);
  if (!artifact) return std::unexpected(artifact.error());
  *trained.mutable_safetensors() = std::move(*artifact);
  return {};
}

std::expected<protocol::ExportedNetwork, Error> export_untrained(NetworkModule& module,
                                                                 const protocol::ExportRandom& job,
                                                                 const Dataset& dataset, JobOutput& output) {
  const auto options = quantize_options_of(job, {});
  if (!options) return std::unexpected(options.error());
  const std::vector<std::string> precisions(job.precisions().begin(), job.precisions().end());
  const std::string_view format = job.format().empty() ? kOnnx : std::string_view(job.format());
  const auto exported =
      export_models(module, dataset.train, options->calibration, metadata(job.space(), job.genotype(), dataset),
                    precisions, output.part(0, 1, "exporting"), format);
  if (!exported) return std::unexpected(exported.error());
  protocol::ExportedNetwork network;
  for (const ExportedModel& model : exported->models) {
    if (auto file = add(model.precision, format, model.bytes, output, *network.mutable_files()); !file)
      return std::unexpected(file.error());
  }
  return network;
}

}  // namespace finch::trainer
