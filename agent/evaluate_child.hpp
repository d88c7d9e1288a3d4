// Top-1 accuracy and answers of a loaded model over an image set. Not thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <functional>

#include "agent/error.hpp"
#include "agent/inference_backend.hpp"
#include "agent/launch.pb.h"

namespace finch::agent {

// `task.test_set`: a serialized finch.protocol.ImageSet; pixels are given to the model as floats in [0, 1]. A last,
// smaller batch is filled up when the model's batch is fixed. Errors: a damaged set, shapes that do not fit the model.
std::expected<LaunchEvent, Error> evaluate_session(InferenceSession& session, const EvaluateTask& task, int batch,
                                                   const std::function<void(double)>& on_progress);

// Its logits over the images and, where `mirrored`, over the images mirrored left to right. `batch`: of a model that
// leaves it free. Errors: as above.
std::expected<LaunchEvent, Error> logits_of_session(InferenceSession& session, const std::filesystem::path& images,
                                                    int batch, bool mirrored,
                                                    const std::function<void(double)>& on_progress);

}  // namespace finch::agent
