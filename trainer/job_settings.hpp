// What a job's messages say, as this folder's values. Pure functions; thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <functional>
#include <memory>

#include "protocol/farm.pb.h"
#include "search/network.hpp"
#include "search/search_space.hpp"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/quantize.hpp"
#include "trainer/soft_targets.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {

// Where an artifact that came with the job lies.
using ArtifactPath = std::function<std::expected<std::filesystem::path, Error>(const protocol::ArtifactRef& artifact)>;

DataSource data_source(const protocol::DataSpec& spec);

// Of a job that may name some; undefined: none.
template <typename Job>
std::expected<torch::Tensor, Error> soft_targets_of(const Job& job, const Dataset& dataset, const ArtifactPath& input) {
  if (!job.has_soft_targets()) return torch::Tensor();
  const auto path = input(job.soft_targets());
  if (!path) return std::unexpected(path.error());
  return load_soft_targets(*path, dataset, job.recipe().flip());
}

// Errors: a value out of its range, named. The data: for the classes' weights.
std::expected<TrainingOptions, Error> training_options(const protocol::Recipe& recipe, const Dataset& dataset,
                                                       torch::Device device);

// Error: no validation images are set aside.
std::expected<void, Error> need_validation(const Dataset& dataset);

// `recipe`: of the training with fake quantization, which takes over all but epochs and learning rate. Errors: a value
// out of its range, an unknown calibration.
std::expected<QuantizeOptions, Error> quantize_options(const protocol::Quantize& quantize,
                                                       const TrainingOptions& recipe);
// Of a job that may say how; or else calibrated only, by "mse".
template <typename Job>
std::expected<QuantizeOptions, Error> quantize_options_of(const Job& job, const TrainingOptions& recipe) {
  if (job.has_quantize()) return quantize_options(job.quantize(), recipe);
  return QuantizeOptions{.calibration = {}, .qat = std::nullopt, .mixed_precision = false};
}
protocol::QuantizationReport quantization_message(const QuantizationReport& report);

// Errors: what the space says; a space made for other images or classes than the data has.
std::expected<std::unique_ptr<search::SearchSpace>, Error> search_space(const protocol::SpaceSpec& space,
                                                                        const Dataset& dataset);

// Errors: those of search_space(); a genotype that is not of the space.
std::expected<search::Network, Error> decode(const protocol::SpaceSpec& space,
                                             const google::protobuf::RepeatedField<std::int32_t>& genotype,
                                             const Dataset& dataset);

}  // namespace finch::trainer
