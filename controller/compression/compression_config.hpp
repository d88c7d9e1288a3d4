// What `finch compress` is to do: a model, data, a device, and steps in order. A plain value; concurrent reads are
// safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "controller/config/campaign_config.hpp"
#include "controller/config/compression_steps.hpp"
#include "controller/error.hpp"

namespace finch::controller {

struct CompressionConfig {
  std::filesystem::path model;   // ONNX, or the weights of the network that the next three describe
  std::string origin;            // for people: the model as it was named
  std::string space;             // empty: the file says what the network is
  std::string space_definition;  // of a space of the user's own: its TOML
  std::vector<int> genotype;
  std::string shape;  // of its input, "image=1,3,224,224": images are brought to it; empty: the data decide
  std::vector<double> mean, stddev;  // of an ONNX model that does not normalise its images itself; else empty

  DataConfig data = {.format = "", .path = "", .validation_samples = -1};  // a twelfth of the training images
  std::string teacher;  // TorchScript; empty: the model itself, as it was
  std::string device = "local";
  std::string provider = "cpu";
  std::string tier = "screen";
  std::int64_t device_threads = 1;

  PipelineConfig pipeline;
  QuantizeConfig quantize;
  std::int64_t batch_size = 64;
  double learning_rate = 1e-3;
  bool flip = false;
  std::int64_t threads = 0;  // of training; 0: all cores
  std::uint64_t seed = 1;
};

nlohmann::json to_json(const CompressionConfig& config);
CompressionConfig compression_config(const nlohmann::json& value);  // REQUIRES: to_json()'s

// The model as the command line names it: an ONNX file, RUN:c012 (the fp32 file of a campaign's model), or a TOML file
// that describes a network by space and genotype and names its weights. A campaign's model is judged by the images that
// its campaign has set aside. Errors: none of these, exit code `usage`; a damaged log of the campaign's.
std::expected<void, Error> name_model(const std::string& model, CompressionConfig& config);
// FORMAT:PATH, or a folder whose files tell the format. Errors: no such folder; exit code `usage`.
std::expected<DataConfig, Error> name_data(const std::string& data);

}  // namespace finch::controller
