#include "trainer/tensor_file.hpp"

#include <torch/script.h>

#include <fstream>
#include <iterator>

namespace finch::trainer {

std::string serialize_tensors(const NamedTensors& tensors) {
  c10::Dict<std::string, torch::Tensor> dict;
  for (const auto& [name, tensor] : tensors) dict.insert(name, tensor.detach().cpu().contiguous());
  const std::vector<char> bytes = torch::pickle_save(dict);
  return {bytes.begin(), bytes.end()};
}

std::expected<NamedTensors, Error> load_tensors(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::unexpected(Error{path.string() + ": cannot be read"});
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  NamedTensors tensors;
  try {
    for (const auto& entry : torch::pickle_load(bytes).toGenericDict()) {
      tensors[entry.key().toStringRef()] = entry.value().toTensor();
    }
  } catch (const std::exception&) {
    return std::unexpected(Error{path.string() + ": not a file of tensors that finch-trainer wrote, or damaged"});
  }
  return tensors;
}

}  // namespace finch::trainer
