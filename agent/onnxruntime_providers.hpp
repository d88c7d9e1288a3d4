// ONNX Runtime's execution providers: which there are, how each is switched on, and what they took of a model. Only for
// the measuring child process; not thread safe.
#pragma once

#include <onnxruntime_c_api.h>

#include <expected>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "agent/error.hpp"
#include "agent/inference_backend.hpp"

namespace finch::agent {

// Finch's name of a provider ("xnnpack" for "XnnpackExecutionProvider"); nothing for one that Finch does not use.
std::optional<std::string_view> provider_name(std::string_view onnxruntime_name);

// The message of a failed call, in one line; nothing for a good one. Releases it.
std::optional<std::string> failure(const OrtApi& api, OrtStatus* status);

// Lets the settings' provider take the nodes that it can, before the CPU provider takes the rest, with its own threads
// where it has some. Errors: not among `available` (says what is), the library cannot start it.
std::expected<void, Error> append_provider(const OrtApi& api, OrtSessionOptions& options,
                                           const SessionSettings& settings, const std::vector<std::string>& available);

// "TensorRT 10.3.0": the one that the provider beside this library of ONNX Runtime brings into the process. Empty: it
// does not load.
std::string tensorrt_of(const std::filesystem::path& onnxruntime);
// By TensorRT's own number: 8601 is 8.6.1, and since 10.0 100300 is 10.3.0.
std::string tensorrt_name(int version);

// Hears ONNX Runtime's log while a session is made, for which node went where.
class PlacementLog {
 public:
  static void ORT_API_CALL listen(void* placement_log, OrtLoggingLevel level, const char* category, const char* id,
                                  const char* where, const char* message);
  void hear(std::string_view message);
  // What was heard since the last call, by provider.
  std::vector<NodePlacement> take();

 private:
  std::vector<NodePlacement> placements_;
};

}  // namespace finch::agent
