// A model as an artifact of its own: the network, whatever it came from, and its weights. Not thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "trainer/error.hpp"
#include "trainer/network_module.hpp"

namespace finch::trainer {

struct Model {
  std::unique_ptr<NetworkModule> module;
  std::string precision = "fp32";  // of the file it is deployed as
  std::vector<std::string> class_names;
  std::string origin;                     // for people: what it was read from
  std::string space = {}, genotype = {};  // of which it was before any channel was removed; empty: none
};

// A tensor file: module->state(), "mean", "stddev", and in "model" the bytes of a protocol::ModelDescription. The same
// model gives the same bytes.
std::string serialize_model(const Model& model);
// Errors: not such a file, damaged, tensors that are not the network's.
std::expected<Model, Error> load_model(const std::filesystem::path& path);
// Of tensors read already; nothing when they are no model's.
bool holds_model(const NamedTensors& tensors);
std::expected<Model, Error> model_of(const NamedTensors& tensors, const std::string& file);

}  // namespace finch::trainer
