// Top-1 accuracy and answers of a loaded model over an image set. Not thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <functional>

#include "agent/error.hpp"
#include "agent/inference_backend.hpp"
#include "agent/launch.pb.h"

namespace finch::agent {

struct Batches {
  int size = 1;  // of a model that leaves it free
  // A last, smaller batch is filled up; else only where the model's batch is fixed.
  bool always_whole = false;
};

// `task.test_set`: a serialized finch.protocol.ImageSet; pixels are given to the model as floats in [0, 1]. Errors: a
// damaged set, shapes that do not fit the model.
std::expected<LaunchEvent, Error> evaluate_session(InferenceSession& session, const EvaluateTask& task, Batches batches,
                                                   const std::function<void(double)>& on_progress);

// Its logits over the images and, where `mirrored`, over the images mirrored left to right. Errors: as above.
std::expected<LaunchEvent, Error> logits_of_session(InferenceSession& session, const std::filesystem::path& images,
                                                    Batches batches, bool mirrored,
                                                    const std::function<void(double)>& on_progress);

}  // namespace finch::agent
