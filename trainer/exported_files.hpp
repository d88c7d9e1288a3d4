// The model files that a training job asks for, written into its output. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <expected>

#include "protocol/farm.pb.h"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/job_output.hpp"
#include "trainer/network_module.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {

// The trained module in all precisions and formats of the job, each with what it should give on the test images, and
// its weights. `recipe`, `soft_targets`: of the training, which int8 may continue. Errors: an unknown precision or
// format, what a format cannot say.
std::expected<void, Error> export_trained(NetworkModule& module, const protocol::TrainCandidate& job,
                                          const Dataset& dataset, const TrainingOptions& recipe,
                                          const torch::Tensor& soft_targets, JobOutput& output,
                                          protocol::TrainedCandidate& trained);

// The module as it is. Errors: as above.
std::expected<protocol::ExportedNetwork, Error> export_untrained(NetworkModule& module,
                                                                 const protocol::ExportRandom& job,
                                                                 const Dataset& dataset, JobOutput& output);

}  // namespace finch::trainer
