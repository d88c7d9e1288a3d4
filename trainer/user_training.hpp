// One candidate trained by a program of the user's: what it is given as files, and what it gives back. Not thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "search/network.hpp"
#include "trainer/error.hpp"
#include "trainer/user_program.hpp"

namespace finch::trainer {

// What is in job.json beside the files.
struct UserTask {
  std::string space, genotype, data;
  search::TensorShape image;
  std::vector<std::string> class_names;
  double epochs = 1;
  std::uint64_t seed = 1;
  bool finalist = false;
};

struct UserModel {
  std::string fp32;                 // ONNX
  std::optional<std::string> int8;  // where the program gave one
  UserMetrics metrics;
  double seconds = 0;  // the program ran
};

// Writes job.json, network.onnx (random weights) and, where there is a parent, parent.onnx into the new folder `files`;
// runs the command with this folder as its last argument; reads model.onnx, model-int8.onnx and metrics.json from it.
// Errors: those of run_program() and read_metrics(), a model that is missing, no classifier of these images, or not
// finite.
std::expected<UserModel, Error> train_with_program(const UserTask& task, const std::string& network,
                                                   const std::optional<std::filesystem::path>& parent,
                                                   UserProgram program, const std::filesystem::path& files,
                                                   const std::function<void(double seconds)>& waiting);

}  // namespace finch::trainer
