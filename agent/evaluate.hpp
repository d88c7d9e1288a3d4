// Accuracy and answers of one model file over a set of images, run by the deployed runtime in a process of its own.
// Thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "agent/engine_build.hpp"
#include "agent/error.hpp"
#include "agent/inference_runtime.hpp"
#include "agent/launch.hpp"
#include "protocol/farm.pb.h"

namespace finch::agent {

struct EvaluateSettings {
  Launcher launcher{};
  RuntimeLibraries libraries{};
  EngineSettings engines{};
  // Shares of 0..1 and what is being done, from the calling thread.
  std::function<void(double, const std::string&)> on_progress{};
};

// `model` and `test_set`: the job's files; the set is a serialized finch.protocol.ImageSet. Errors: what deploy asks
// for is not there, a damaged set, shapes that do not fit; retryable: a crash, a stop.
std::expected<protocol::Evaluation, Error> evaluate(const std::filesystem::path& model,
                                                    const std::filesystem::path& test_set,
                                                    const protocol::Evaluate& job, const EvaluateSettings& settings,
                                                    std::stop_token stop);

struct ModelLogits {
  std::vector<float> values;  // [views, N, classes]: of the images and, where asked for, of them mirrored
  std::int64_t classes = 0;
  double seconds = 0;
};

// Its logits over `images`, a serialized finch.protocol.ImageSet. Errors: as above.
std::expected<ModelLogits, Error> compute_logits(const std::filesystem::path& model,
                                                 const std::filesystem::path& images, bool mirrored,
                                                 const protocol::Deploy& deploy, const EvaluateSettings& settings,
                                                 std::stop_token stop);

}  // namespace finch::agent
