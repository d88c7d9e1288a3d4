// The jobs of the compression pipeline: read a model, apply one step to it. Not thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <functional>

#include "protocol/farm.pb.h"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/job_output.hpp"

namespace finch::trainer {

// Where an artifact that came with the job lies.
using ArtifactPath = std::function<std::expected<std::filesystem::path, Error>(const protocol::ArtifactRef& artifact)>;

// Errors: a file that is no model, or one for other images or classes than the data has; no validation images.
std::expected<protocol::JobResult, Error> read_model(const protocol::ReadModel& job, const Dataset& dataset,
                                                     const ArtifactPath& input, JobOutput& output);
// Errors: those of the step.
std::expected<protocol::JobResult, Error> compress_model(const protocol::CompressModel& job, const Dataset& dataset,
                                                         const ArtifactPath& input, JobOutput& output);

}  // namespace finch::trainer
