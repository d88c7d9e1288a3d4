// Where networks of a space begin that are not to begin at random: with tensors of another campaign's supernet, of
// safetensors or of ONNX. Not thread safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <string>
#include <vector>

#include "protocol/farm.pb.h"
#include "search/search_space.hpp"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/job_output.hpp"
#include "trainer/job_settings.hpp"
#include "trainer/network_module.hpp"
#include "trainer/supernet.hpp"

namespace finch::trainer {

// The float tensors of a file: safetensors, Finch's own, or ONNX. An ONNX file's are named as the module that it was
// exported from names them, "features.0.0.weight", where its initializers or its nodes still say so. Errors: none of
// these.
std::expected<NamedTensors, Error> read_any_weights(const std::filesystem::path& path);

struct MatchedWeights {
  NamedTensors tensors;               // as a supernet of the space names them
  std::int64_t loaded = 0;            // tensors of the file
  std::vector<std::string> left_out;  // every other one, "why: name, name"
};

// Tensors with Finch's names, or with torchvision's of MobileNetV2, V3 and ShuffleNetV2 (torchvision_names.hpp): their
// stages are laid beside the space's in order, so that as many tensors as possible fit. A tensor fits where networks of
// the space have one so large or larger and so small or smaller: the classifier for other classes and the stem for
// other images do not. Counters of batches count as nothing. Error: nothing fits.
std::expected<MatchedWeights, Error> match_weights(const NamedTensors& file, const search::SearchSpace& space);

// What both have of each tensor, the first channels: into a network of the space, or into the weights that all share.
// Gives the number of tensors that it changed.
std::int64_t begin_with(const NamedTensors& initial, NetworkModule& module);
std::int64_t begin_with(const NamedTensors& initial, Supernet& supernet);

// The job. Errors: those of the above.
std::expected<protocol::JobResult, Error> read_weights(const protocol::ReadWeights& job, const Dataset& dataset,
                                                       const ArtifactPath& input, JobOutput& output);

}  // namespace finch::trainer
