#include "trainer/safetensors.hpp"

#include <bit>
#include <cstring>
#include <format>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

namespace finch::trainer {
namespace {

static_assert(std::endian::native == std::endian::little, "the file's numbers are little-endian");

constexpr std::size_t kLengthBytes = sizeof(std::uint64_t);

std::optional<torch::ScalarType> type_of(const std::string& name) {
  if (name == "F32") return torch::kFloat;
  if (name == "F64") return torch::kDouble;
  if (name == "F16") return torch::kHalf;
  if (name == "BF16") return torch::kBFloat16;
  if (name == "I64") return torch::kLong;
  if (name == "I32") return torch::kInt;
  return std::nullopt;
}

std::string read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// The header's length; nothing when the bytes cannot be such a file.
std::optional<std::uint64_t> header_length(const std::string& bytes) {
  std::uint64_t length = 0;
  if (bytes.size() <= kLengthBytes || bytes[kLengthBytes] != '{') return std::nullopt;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length < 2 || length > bytes.size() - kLengthBytes) return std::nullopt;
  return length;
}

std::expected<torch::Tensor, std::string> tensor_of(const nlohmann::json& entry, std::string_view data) {
  try {
    const auto type = type_of(entry.at("dtype").get<std::string>());
    if (!type) return std::unexpected("is of the type " + entry.at("dtype").get<std::string>());
    const auto shape = entry.at("shape").get<std::vector<std::int64_t>>();
    const auto offsets = entry.at("data_offsets").get<std::vector<std::uint64_t>>();
    std::uint64_t bytes = torch::elementSize(*type);
    for (const std::int64_t size : shape) {
      if (size < 0 || (size > 0 && bytes > data.size() / static_cast<std::uint64_t>(size)))
        return std::unexpected("does not fit into the file");
      bytes *= static_cast<std::uint64_t>(size);
    }
    if (offsets.size() != 2 || offsets[0] > offsets[1] || offsets[1] > data.size() || offsets[1] - offsets[0] != bytes)
      return std::unexpected("does not lie where the header says");
    torch::Tensor tensor = torch::empty(shape, *type);
    if (bytes > 0) std::memcpy(tensor.data_ptr(), data.data() + offsets[0], bytes);
    return tensor.to(torch::kFloat);
  } catch (const nlohmann::json::exception&) {
    return std::unexpected("is described wrongly");
  }
}

}  // namespace

std::expected<NamedTensors, Error> load_safetensors(const std::filesystem::path& path) {
  const auto fail = [&](const std::string& what) { return std::unexpected(Error{path.string() + ": " + what}); };
  const std::string bytes = read_file(path);
  const auto length = header_length(bytes);
  if (!length) return fail("not a safetensors file, or a damaged one");
  const std::string_view whole = bytes;
  const auto header = nlohmann::json::parse(whole.substr(kLengthBytes, *length), nullptr, false);
  if (!header.is_object()) return fail("the header of this safetensors file is damaged");
  NamedTensors tensors;
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    auto tensor = tensor_of(entry, whole.substr(kLengthBytes + *length));
    if (!tensor) return fail(std::format("the tensor '{}' {}", name, tensor.error()));
    tensors[name] = std::move(*tensor);
  }
  return tensors;
}

std::expected<NamedTensors, Error> load_weights(const std::filesystem::path& path) {
  return header_length(read_file(path)) ? load_safetensors(path) : load_tensors(path);
}

}  // namespace finch::trainer
