#include "trainer/safetensors.hpp"

#include <torch/torch.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <format>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

namespace finch::trainer {
namespace {

constexpr std::uint64_t kLongestHeader = 100'000'000;  // the format's own limit
constexpr std::size_t kAlignment = 8;

constexpr std::array<std::pair<torch::ScalarType, const char*>, 9> kTypes = {{{torch::kFloat32, "F32"},
                                                                              {torch::kFloat64, "F64"},
                                                                              {torch::kFloat16, "F16"},
                                                                              {torch::kBFloat16, "BF16"},
                                                                              {torch::kInt64, "I64"},
                                                                              {torch::kInt32, "I32"},
                                                                              {torch::kInt8, "I8"},
                                                                              {torch::kUInt8, "U8"},
                                                                              {torch::kBool, "BOOL"}}};

std::expected<torch::Tensor, Error> read_tensor(const nlohmann::json& entry, std::string_view data) {
  const auto type = std::ranges::find_if(kTypes, [&](const auto& known) { return entry.at("dtype") == known.second; });
  if (type == kTypes.end()) return std::unexpected(Error{"its type is not known: " + entry.at("dtype").dump()});
  const auto shape = entry.at("shape").get<std::vector<std::int64_t>>();
  const auto begin = entry.at("data_offsets").at(0).get<std::uint64_t>();
  const auto end = entry.at("data_offsets").at(1).get<std::uint64_t>();
  std::uint64_t bytes = c10::elementSize(type->first);
  for (const std::int64_t extent : shape) {
    if (extent < 0 || (extent > 0 && bytes > data.size() / static_cast<std::uint64_t>(extent)))
      return std::unexpected(Error{"it has more values than the file holds"});
    bytes *= static_cast<std::uint64_t>(extent);
  }
  if (begin > end || end > data.size() || end - begin != bytes)
    return std::unexpected(Error{"its bytes do not lie in the file as its shape says"});
  torch::Tensor tensor = torch::empty(shape, type->first);
  if (bytes > 0) std::memcpy(tensor.data_ptr(), data.data() + begin, bytes);
  return tensor;
}

}  // namespace

std::expected<std::string, Error> serialize_safetensors(const NamedTensors& tensors,
                                                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    const auto type = std::ranges::find(kTypes, tensor.scalar_type(), &decltype(kTypes)::value_type::first);
    if (type == kTypes.end()) {
      return std::unexpected(Error{
          std::format("tensor {}: type {} is not written to safetensors", name, c10::toString(tensor.scalar_type()))});
    }
    const torch::Tensor values = tensor.detach().cpu().contiguous();
    const std::size_t begin = data.size();
    data.append(static_cast<const char*>(values.data_ptr()), values.nbytes());
    header[name] = {{"dtype", type->second}, {"shape", values.sizes().vec()}, {"data_offsets", {begin, data.size()}}};
  }
  std::string json = header.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  json.append((kAlignment - json.size() % kAlignment) % kAlignment, ' ');
  std::string file(sizeof(std::uint64_t), '\0');
  for (std::size_t i = 0; i < file.size(); ++i)
    file[i] = static_cast<char>((std::uint64_t{json.size()} >> (8 * i)) & 0xFF);
  return file + json + data;
}

std::expected<NamedTensors, Error> load_safetensors(const std::filesystem::path& path) {
  const auto refuse = [&](const std::string& what) {
    return std::unexpected(Error{path.string() + ": not a safetensors file, or damaged: " + what});
  };
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::unexpected(Error{path.string() + ": cannot be read"});
  const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::uint64_t length = 0;
  if (bytes.size() < sizeof(length)) return refuse("it has no header");
  for (std::size_t i = 0; i < sizeof(length); ++i)
    length |= std::uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  if (length > kLongestHeader || length > bytes.size() - sizeof(length)) return refuse("its header is longer than it");
  const std::string_view rest = std::string_view(bytes).substr(sizeof(length));
  NamedTensors tensors;
  try {
    const auto header = nlohmann::json::parse(rest.substr(0, length));
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__") continue;
      auto tensor = read_tensor(entry, rest.substr(length));
      if (!tensor) return refuse("tensor " + name + ": " + tensor.error().message);
      tensors[name] = std::move(*tensor);
    }
  } catch (const nlohmann::json::exception& error) {
    return refuse(error.what());
  }
  return tensors;
}

std::expected<NamedTensors, Error> load_weights(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::array<char, sizeof(std::uint64_t) + 1> begin{};  // of the JSON, behind its length
  if (!file.read(begin.data(), begin.size()) || begin.back() != '{') return load_tensors(path);
  auto tensors = load_safetensors(path);
  if (tensors) {
    for (auto& [name, tensor] : *tensors) tensor = tensor.to(torch::kFloat);
  }
  return tensors;
}

}  // namespace finch::trainer
