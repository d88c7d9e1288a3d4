// Which kernels the runtime chose for a model, and what each costs: from ONNX Runtime's own profile. Thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "agent/error.hpp"
#include "agent/launch.hpp"
#include "agent/launch.pb.h"

namespace finch::agent {

// Of a profile that ONNX Runtime has written (JSON, an event a line): the nodes in the order of their first run, each
// with the median of its times. Errors: no kernel in it.
std::expected<ProfileResult, Error> read_kernel_profile(std::string_view json);

// A matrix product or convolution that works on integers ("QLinearConv") or on floats ("FusedConv"); other operators
// are neither.
bool is_integer_layer(std::string_view operation);
bool is_float_layer(std::string_view operation);

struct ProfileSettings {
  std::filesystem::path model;
  std::string library;
  std::string provider = "cpu";
  int threads = 1;
  int batch = 1;
  int runs = 20;
  std::filesystem::path engine_folder{};  // see launch.proto
};

// Runs the model in a process of its own with profiling switched on. Errors: those of the launcher; a folder for the
// profile cannot be made.
std::expected<ProfileResult, Error> profile_kernels(const ProfileSettings& settings, const Launcher& launcher,
                                                    std::stop_token stop);

// A table, the most expensive kernel first, and a sum for each operator.
std::string kernels_text(const ProfileResult& profile);

}  // namespace finch::agent
