// What a job's messages say, as this folder's values. Pure functions; thread safe.
#pragma once

#include <expected>
#include <memory>

#include "protocol/farm.pb.h"
#include "search/network.hpp"
#include "search/search_space.hpp"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/quantize.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {

DataSource data_source(const protocol::DataSpec& spec);

// Errors: a value out of its range, named. The data: for the classes' weights.
std::expected<TrainingOptions, Error> training_options(const protocol::Recipe& recipe, const Dataset& dataset);

// Error: no validation images are set aside.
std::expected<void, Error> need_validation(const Dataset& dataset);

// `recipe`: of the training with fake quantization, which takes over all but epochs and learning rate. Errors: a value
// out of its range, an unknown calibration.
std::expected<QuantizeOptions, Error> quantize_options(const protocol::Quantize& quantize,
                                                       const TrainingOptions& recipe);

// Errors: what the space says; a space made for other images or classes than the data has.
std::expected<std::unique_ptr<search::SearchSpace>, Error> search_space(const protocol::SpaceSpec& space,
                                                                        const Dataset& dataset);

// Errors: those of search_space(); a genotype that is not of the space.
std::expected<search::Network, Error> decode(const protocol::SpaceSpec& space,
                                             const google::protobuf::RepeatedField<std::int32_t>& genotype,
                                             const Dataset& dataset);

}  // namespace finch::trainer
