// The jobs of the compression pipeline: read a model, apply one step to it. Not thread safe.
#pragma once

#include <expected>

#include "protocol/farm.pb.h"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/job_output.hpp"
#include "trainer/job_settings.hpp"

namespace finch::trainer {

// Errors: a file that is no model, or one for other images or classes than the data has; an input that is not named or
// shaped as the job says; no validation images.
std::expected<protocol::JobResult, Error> read_model(const protocol::ReadModel& job, const Dataset& dataset,
                                                     const ArtifactPath& input, JobOutput& output);
// Trains on `device`. Errors: those of the step.
std::expected<protocol::JobResult, Error> compress_model(const protocol::CompressModel& job, const Dataset& dataset,
                                                         const ArtifactPath& input, JobOutput& output,
                                                         torch::Device device = torch::kCPU);

}  // namespace finch::trainer
