// The teacher: a plain-convolution residual network of Finch's own, or a TorchScript module of the user's. Not thread
// safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <memory>

#include "search/network.hpp"
#include "trainer/dataset.hpp"
#include "trainer/error.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/network_module.hpp"

namespace finch::trainer {

// Residual blocks of 3x3 convolutions (He et al. 2016), which run fast on CPUs; large images are first halved until 14
// to 28 pixels are left. Errors: what the network builder says about the shape.
std::expected<search::Network, Error> teacher_network(const search::TensorShape& image, std::int64_t classes);

// The built-in teacher as a file of its own: weights and the data's mean and standard deviation.
std::string serialize_teacher(const NetworkModule& teacher, const Dataset& dataset);

// Loads what serialize_teacher() wrote, in evaluation mode; null: it is not such a file. Errors: other images or
// classes.
std::expected<std::shared_ptr<NetworkModule>, Error> load_built_in_teacher(const std::filesystem::path& path,
                                                                           const Dataset& dataset);

// Loads what serialize_teacher() or serialize_model() wrote, or a TorchScript module that takes float32 [N, C, H, W] in
// [0, 1] and gives logits [N, classes]; tries it on two images. Errors: neither of them, other images or classes.
std::expected<Classifier, Error> load_teacher(const std::filesystem::path& path, const Dataset& dataset,
                                              torch::Device device = torch::kCPU);

}  // namespace finch::trainer
