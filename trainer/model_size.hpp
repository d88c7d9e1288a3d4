// What a model weighs, and what a step of its compression saved. Not thread safe on one module.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string_view>

#include "trainer/error.hpp"
#include "trainer/network_module.hpp"

namespace finch::trainer {

struct ModelSize {
  std::int64_t parameters = 0, macs = 0;   // of the network, zeros counted
  std::int64_t weights = 0, zeros = 0;     // of convolutions and fully connected layers, without biases
  std::int64_t file_bytes = 0;             // the fp32 ONNX file
  std::int64_t compressed_file_bytes = 0;  // the same through gzip -9

  double sparsity() const { return weights > 0 ? static_cast<double>(zeros) / static_cast<double>(weights) : 0; }
  bool operator==(const ModelSize&) const = default;
};

// Error: what the ONNX writer says, as of weights that are not finite.
std::expected<ModelSize, Error> model_size(const NetworkModule& module);

// As gzip -9 (DEFLATE, RFC 1951) makes of them.
std::int64_t compressed_bytes(std::string_view bytes);

// What a step gives. The module is a new one, in training mode, not yet fine-tuned.
struct CompressedModule {
  std::unique_ptr<NetworkModule> module;
  ModelSize before, after;
};

}  // namespace finch::trainer
