#include "trainer/model_size.hpp"

#include <zlib.h>

#include <vector>

#include "search/cost_model.hpp"
#include "trainer/onnx_writer.hpp"

namespace finch::trainer {

std::expected<ModelSize, Error> model_size(const NetworkModule& module) {
  const auto file = write_onnx(module.network(), module.fold(), {}, BatchDimension::dynamic);
  if (!file) return std::unexpected(file.error());
  const search::Cost cost = search::cost_of(module.network());
  ModelSize size{.parameters = cost.parameters, .macs = cost.macs};
  for (const auto& [name, weight] : module.filters()) {
    size.weights += weight.numel();
    size.zeros += weight.numel() - weight.count_nonzero().item<std::int64_t>();
  }
  size.file_bytes = std::ssize(*file);
  size.compressed_file_bytes = compressed_bytes(*file);
  return size;
}

std::int64_t compressed_bytes(std::string_view bytes) {
  constexpr std::int64_t kGzipFrame = 12;  // more than zlib's: a header of 10 bytes and a trailer of 8, not 2 and 4
  uLongf size = compressBound(bytes.size());
  std::vector<Bytef> compressed(size);
  const int result = compress2(compressed.data(), &size, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size(),
                               Z_BEST_COMPRESSION);
  assert(result == Z_OK);  // the buffer is large enough
  return result == Z_OK ? static_cast<std::int64_t>(size) + kGzipFrame : 0;
}

}  // namespace finch::trainer
