// Splits as an artifact, for devices to test files on. Not thread safe.
#pragma once

#include <expected>
#include <string>
#include <vector>

#include "protocol/farm.pb.h"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/job_output.hpp"

namespace finch::trainer {

// A serialized protocol::ImageSet, one split behind the other. Errors: more pixels than a message can hold, not
// writable. REQUIRES: at least one split; all of one shape.
std::expected<protocol::ArtifactRef, Error> write_image_set(const std::vector<const ImageSplit*>& splits,
                                                            const std::vector<std::string>& class_names,
                                                            JobOutput& output);

}  // namespace finch::trainer
