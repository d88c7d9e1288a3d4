// Exported files as they are deployed: run by ONNX Runtime or LiteRT in finch-agent. Needs FINCH_BIN.
#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <cstdlib>
#include <format>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "tests/trainer/temporary_folder.hpp"
#include "trainer/dataset.hpp"
#include "trainer/network_module.hpp"

namespace finch::trainer {

// What finch-agent computes for the images, float32 [N, classes].
inline torch::Tensor run_file(const std::string& model, const torch::Tensor& images, std::int64_t classes) {
  const TemporaryFolder folder;
  const auto path = [&](const char* name) { return (folder.path() / name).string(); };
  std::ofstream(path("model.onnx"), std::ios::binary) << model;
  const torch::Tensor in = images.contiguous();
  std::ofstream(path("in.bin"), std::ios::binary)
      .write(static_cast<const char*>(in.data_ptr()), in.numel() * static_cast<std::int64_t>(sizeof(float)));
  const std::string command = std::format(
      "{}/finch-agent infer {} --input {} --output {} --shape {},{},{},{} >/dev/null", std::getenv("FINCH_BIN"),
      path("model.onnx"), path("in.bin"), path("out.bin"), in.size(0), in.size(1), in.size(2), in.size(3));
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  torch::Tensor out = torch::full({in.size(0), classes}, std::nan(""));
  std::ifstream(path("out.bin"), std::ios::binary)
      .read(static_cast<char*>(out.data_ptr()), out.numel() * static_cast<std::int64_t>(sizeof(float)));
  return out;
}

inline bool litert_is_here() {
  const std::string command =
      std::string(std::getenv("FINCH_BIN")) + "/finch-agent runtimes | grep -q '^litert *[0-9s]'";
  return std::system(command.c_str()) == 0;
}

// The kernels that the runtime chooses for the model: node, operator.
inline std::vector<std::pair<std::string, std::string>> kernels_of(const std::string& model) {
  const TemporaryFolder folder;
  const std::string path = (folder.path() / "model.onnx").string(), table = (folder.path() / "kernels").string();
  std::ofstream(path, std::ios::binary) << model;
  const std::string command = std::format("{}/finch-agent kernels {} >{}", std::getenv("FINCH_BIN"), path, table);
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  std::vector<std::pair<std::string, std::string>> kernels;
  std::ifstream file(table);
  std::string line;
  std::getline(file, line);  // the columns' names
  while (std::getline(file, line) && !line.empty()) {
    std::istringstream row(line);
    std::string microseconds, operation, node;
    row >> microseconds >> operation >> node;
    kernels.emplace_back(node, operation);
  }
  return kernels;
}

// BatchNorm as after training: no statistic is the identity's.
inline void disturb_statistics(NetworkModule& module) {
  const torch::NoGradGuard no_grad;
  for (const auto& [name, tensor] : module.state()) {
    if (name.ends_with(".running_mean") || name.ends_with(".shift")) tensor.detach().normal_(0, 0.2);
    if (name.ends_with(".running_var") || name.ends_with(".scale")) tensor.detach().uniform_(0.6, 1.4);
  }
}

inline ImageSplit random_images(const search::TensorShape& shape, std::int64_t count) {
  ImageSplit split{
      .channels = shape.channels, .height = shape.height, .width = shape.width, .pixels = {}, .labels = {}};
  std::mt19937 generator(7);
  split.pixels.resize(static_cast<std::size_t>(count * shape.elements()));
  for (std::uint8_t& pixel : split.pixels) pixel = static_cast<std::uint8_t>(generator());
  split.labels.assign(static_cast<std::size_t>(count), 0);
  return split;
}

}  // namespace finch::trainer
