// One training job, from its request to its result. Not thread safe.
#pragma once

#include <torch/torch.h>

#include <expected>
#include <filesystem>

#include "protocol/farm.pb.h"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/job_output.hpp"
#include "trainer/process_group.hpp"

namespace finch::trainer {

// `dataset`: what the job's data specification names. `checkpoints`, `group`, `device`: as for JobServer; of the group,
// all call this, and the leader's result counts. Errors: what is wrong with the job, for people. What LibTorch throws
// goes through.
std::expected<protocol::JobResult, Error> run_job(const protocol::ChildRequest& request, const Dataset& dataset,
                                                  JobOutput& output, const std::filesystem::path& checkpoints,
                                                  ProcessGroup& group, torch::Device device);

}  // namespace finch::trainer
