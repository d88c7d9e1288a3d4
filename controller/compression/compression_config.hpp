// What `finch compress` is to do: a model, data, a device, and steps in order. A plain value; concurrent reads are
// safe.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "controller/config/campaign_config.hpp"
#include "controller/error.hpp"

namespace finch::controller {

struct StepConfig {
  std::string name;   // "distill", "prune", "quantize", "cluster"
  double amount = 0;  // distill: epochs; prune: share of the MACs to remove; cluster: bits; quantize: nothing

  std::string text() const;  // "prune=0.5"
};

// "prune", "prune=0.5": without an amount the step's usual one. Errors: no such step (names the nearest), an amount out
// of range; exit code `usage`.
std::expected<StepConfig, Error> parse_step(std::string_view text);
std::expected<std::vector<StepConfig>, Error> parse_steps(std::string_view text);  // "distill=2,prune,quantize"

struct CompressionConfig {
  std::filesystem::path model;   // ONNX, or the weights of the network that the next three describe
  std::string origin;            // for people: the model as it was named
  std::string space;             // empty: the file says what the network is
  std::string space_definition;  // of a space of the user's own: its TOML
  std::vector<int> genotype;
  std::vector<double> mean, stddev;  // of an ONNX model that does not normalise its images itself; else empty

  DataConfig data;
  std::string teacher;  // TorchScript; empty: the model itself, as it was
  std::string device = "local";
  std::string provider = "cpu";
  std::string tier = "screen";
  std::int64_t device_threads = 1;

  std::vector<StepConfig> steps;
  double max_accuracy_drop = 0.005;  // below the original's, on the validation images, 0..1
  // What steps other than distill must save: "latency", "memory", "energy", "size" (of the file) or "download" (of the
  // file through gzip -9). Empty: each what it is for, cluster the download, the others latency.
  std::string gain;
  double epochs = 1;  // of the training that follows prune and cluster
  std::int64_t batch_size = 64;
  double learning_rate = 1e-3;
  bool flip = false;
  std::int64_t threads = 0;  // of training; 0: all cores
  std::uint64_t seed = 1;

  std::string gain_of(const StepConfig& step) const;
};

std::vector<std::string> gain_names();
nlohmann::json to_json(const CompressionConfig& config);
CompressionConfig compression_config(const nlohmann::json& value);  // REQUIRES: to_json()'s

// The model as the command line names it: an ONNX file, RUN:c012 (the fp32 file of a campaign's model), or a TOML file
// that describes a network by space and genotype and names its weights. Errors: none of these; exit code `usage`.
std::expected<void, Error> name_model(const std::string& model, CompressionConfig& config);
// FORMAT:PATH, or a folder whose files tell the format. Errors: no such folder; exit code `usage`.
std::expected<DataConfig, Error> name_data(const std::string& data);

}  // namespace finch::controller
