// The job that a program of the user's does in the trainer's place. Not thread safe.
#pragma once

#include <expected>
#include <filesystem>

#include "protocol/farm.pb.h"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/job_output.hpp"
#include "trainer/job_settings.hpp"

namespace finch::trainer {

// Hands the candidate with random weights to the program that job.user_trainer() names and takes its files as the
// result. Errors: what the program did wrong.
std::expected<protocol::JobResult, Error> serve_user_training(const protocol::TrainCandidate& job,
                                                              const Dataset& dataset,
                                                              const std::filesystem::path& output_folder,
                                                              const ArtifactPath& input, JobOutput& output);

}  // namespace finch::trainer
