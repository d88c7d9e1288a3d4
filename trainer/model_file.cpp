#include "trainer/model_file.hpp"

#include <format>

#include "trainer/network_message.hpp"

namespace finch::trainer {
namespace {

constexpr const char* kDescription = "model";
constexpr const char* kMean = "mean";
constexpr const char* kStddev = "stddev";

std::optional<std::vector<float>> per_channel(const NamedTensors& tensors, const char* name, std::int64_t channels) {
  const auto found = tensors.find(name);
  if (found == tensors.end() || found->second.numel() != channels) return std::nullopt;
  const torch::Tensor values = found->second.to(torch::kFloat).contiguous();
  return std::vector<float>(values.data_ptr<float>(), values.data_ptr<float>() + values.numel());
}

}  // namespace

std::string serialize_model(const Model& model) {
  protocol::ModelDescription description;
  *description.mutable_network() = network_message(model.module->network());
  description.set_precision(model.precision);
  description.mutable_class_names()->Add(model.class_names.begin(), model.class_names.end());
  description.set_origin(model.origin);
  description.set_space(model.space);
  description.set_genotype(model.genotype);
  std::string bytes = description.SerializeAsString();
  NamedTensors tensors = model.module->state();
  tensors[kMean] = torch::tensor(model.module->mean());
  tensors[kStddev] = torch::tensor(model.module->stddev());
  tensors[kDescription] = torch::from_blob(bytes.data(), {std::ssize(bytes)}, torch::kUInt8);
  return serialize_tensors(tensors);
}

bool holds_model(const NamedTensors& tensors) {
  return tensors.contains(kDescription) && tensors.contains(kMean) && tensors.contains(kStddev);
}

std::expected<Model, Error> load_model(const std::filesystem::path& path) {
  const auto tensors = load_tensors(path);
  if (!tensors) return std::unexpected(tensors.error());
  return model_of(*tensors, path.string());
}

std::expected<Model, Error> model_of(const NamedTensors& tensors, const std::string& file) {
  const auto fail = [&](const std::string& what) { return std::unexpected(Error{file + ": " + what}); };
  if (!holds_model(tensors)) return fail("holds no model");
  const torch::Tensor bytes = tensors.at(kDescription).contiguous();
  protocol::ModelDescription description;
  if (bytes.scalar_type() != torch::kUInt8 ||
      !description.ParseFromArray(bytes.data_ptr(), static_cast<int>(bytes.numel())))
    return fail("its description is damaged");
  auto network = network_of(description.network());
  if (!network) return fail(network.error().message);
  const std::int64_t channels = network->input_shape().channels;
  auto mean = per_channel(tensors, kMean, channels);
  auto stddev = per_channel(tensors, kStddev, channels);
  if (!mean || !stddev) return fail("its mean and stddev are not one value a channel");
  std::string missing;
  Model model;
  model.module = std::make_unique<NetworkModule>(
      std::move(*network), std::move(*mean), std::move(*stddev),
      [&](const search::Node& node, const std::string& tensor, torch::IntArrayRef shape) {
        const auto found = tensors.find(node.name + "." + tensor);
        if (found != tensors.end() && found->second.sizes() == shape) return found->second.to(torch::kFloat).clone();
        missing = node.name + "." + tensor;
        return torch::zeros(shape);
      });
  if (!missing.empty()) return fail(std::format("has no '{}' of its network's shape", missing));
  model.module->eval();
  model.precision = description.precision();
  model.class_names.assign(description.class_names().begin(), description.class_names().end());
  model.origin = description.origin();
  model.space = description.space();
  model.genotype = description.genotype();
  return model;
}

}  // namespace finch::trainer
