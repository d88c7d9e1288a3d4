#include "trainer/user_training_job.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <format>

#include "search/search_space.hpp"
#include "trainer/export.hpp"
#include "trainer/job_settings.hpp"
#include "trainer/user_training.hpp"

namespace finch::trainer {

std::expected<protocol::JobResult, Error> serve_user_training(const protocol::TrainCandidate& job,
                                                              const Dataset& dataset,
                                                              const std::filesystem::path& output_folder,
                                                              const ArtifactPath& input, JobOutput& output) {
  auto network = decode(job.space(), job.genotype(), dataset);
  if (!network) return std::unexpected(network.error());
  torch::manual_seed(job.recipe().seed());
  NetworkModule module(std::move(*network), dataset.mean, dataset.stddev);
  const OnnxMetadata about{
      .space = job.space().name(),
      .genotype = search::to_string(search::Genotype(job.genotype().begin(), job.genotype().end())),
      .campaign = {},
      .class_names = dataset.class_names};
  const std::vector<std::string> fp32 = {"fp32"};
  auto random = export_models(module, dataset.train, {}, about, fp32, [](double) {});
  if (!random) return std::unexpected(random.error());
  std::optional<std::filesystem::path> parent;
  if (job.has_parent_checkpoint()) {
    const auto path = input(job.parent_checkpoint());
    if (!path) return std::unexpected(path.error());
    parent = *path;
  }
  const protocol::UserTrainer& trainer = job.user_trainer();
  const UserTask task{.space = about.space,
                      .genotype = about.genotype,
                      .data = job.data().path(),
                      .image = {dataset.train.channels, dataset.train.height, dataset.train.width},
                      .class_names = dataset.class_names,
                      .epochs = job.recipe().epochs(),
                      .seed = job.recipe().seed(),
                      .finalist = job.precisions_size() > 0};
  const std::filesystem::path files = output_folder / "user-trainer";
  const auto model =
      train_with_program(task, random->models.front().bytes, parent,
                         {.command = {trainer.command().begin(), trainer.command().end()},
                          .folder = trainer.folder(),
                          .log = {},
                          .timeout_seconds = trainer.timeout_seconds()},
                         files, [&](double seconds) {
                           output.progress(std::min(0.99, seconds / trainer.timeout_seconds()),
                                           std::format("{} runs for {:.0f} s", trainer.command(0), seconds));
                         });
  std::error_code ignored;
  std::filesystem::remove_all(files, ignored);
  if (!model) return std::unexpected(Error{"the user's trainer: " + model.error().message});
  protocol::JobResult result;
  protocol::TrainedCandidate& trained = *result.mutable_trained_candidate();
  trained.set_validation_top1(model->metrics.top1);
  trained.set_validation_samples(model->metrics.samples);
  for (const auto& [label, prediction, count] : model->metrics.confusion) {
    trained.mutable_validation()->add_label(label);
    trained.mutable_validation()->add_prediction(prediction);
    trained.mutable_validation()->add_count(count);
  }
  trained.set_seconds(model->seconds);
  const auto add = [&](const std::string& precision, const std::string& bytes) -> std::expected<void, Error> {
    auto artifact = output.write(bytes);
    if (!artifact) return std::unexpected(artifact.error());
    if (precision == "fp32") *trained.mutable_checkpoint() = *artifact;
    if (std::ranges::find(job.precisions(), precision) == job.precisions().end()) return {};
    protocol::ExportedFile& file = *trained.add_files();
    file.set_precision(precision);
    *file.mutable_artifact() = std::move(*artifact);
    return {};
  };
  if (auto added = add("fp32", model->fp32); !added) return std::unexpected(added.error());
  if (model->int8) {
    if (auto added = add("int8", *model->int8); !added) return std::unexpected(added.error());
  }
  return result;
}

}  // namespace finch::trainer
