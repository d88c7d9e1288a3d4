// Where networks are trained: the processor or an NVIDIA GPU. Thread safe.
#pragma once

#include <torch/torch.h>

#include <expected>
#include <string_view>
#include <vector>

#include "trainer/error.hpp"

namespace finch::trainer {

// "auto": a GPU where LibTorch can use one, else the processor; "cpu"; "cuda": of several GPUs the one that falls to
// `local_rank`, this process's number among those that train together on this machine; "cuda:1": that one. Errors:
// another name; a GPU that is not there or that this LibTorch cannot use (says which).
std::expected<torch::Device, Error> choose_device(std::string_view name, int local_rank = 0);

// All that it could give; the processor first.
std::vector<torch::Device> usable_devices();

}  // namespace finch::trainer
