#include "agent/onnxruntime_providers.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <format>
#include <memory>
#include <system_error>
#include <utility>

#include "agent/shared_library.hpp"

namespace finch::agent {
namespace {

struct Known {
  std::string_view name, onnxruntime_name;
};
constexpr std::array<Known, 6> kKnown{{{"cpu", "CPUExecutionProvider"},
                                       {"xnnpack", "XnnpackExecutionProvider"},
                                       {"dnnl", "DnnlExecutionProvider"},
                                       {"openvino", "OpenVINOExecutionProvider"},
                                       {"cuda", "CUDAExecutionProvider"},
                                       {"tensorrt", "TensorrtExecutionProvider"}}};

OrtStatus* append_xnnpack(const OrtApi& api, OrtSessionOptions& options, int threads) {
  // It has a pool of its own; that of the session would only get in its way.
  const std::string count = std::to_string(threads);
  const std::array<const char*, 1> keys{"intra_op_num_threads"}, values{count.c_str()};
  if (OrtStatus* status = api.SetIntraOpNumThreads(&options, 1)) return status;
  if (OrtStatus* status = api.AddSessionConfigEntry(&options, "session.intra_op.allow_spinning", "0")) return status;
  return api.SessionOptionsAppendExecutionProvider(&options, "XNNPACK", keys.data(), values.data(), keys.size());
}

OrtStatus* append_dnnl(const OrtApi& api, OrtSessionOptions& options) {
  OrtDnnlProviderOptions* raw = nullptr;
  if (OrtStatus* status = api.CreateDnnlProviderOptions(&raw)) return status;
  const Owned<OrtDnnlProviderOptions> dnnl(raw, {api.ReleaseDnnlProviderOptions});
  return api.SessionOptionsAppendExecutionProvider_Dnnl(&options, raw);
}

OrtStatus* append_openvino(const OrtApi& api, OrtSessionOptions& options, int threads) {
  OrtOpenVINOProviderOptions openvino{};
  openvino.device_type = "CPU";
  openvino.num_of_threads = static_cast<std::size_t>(threads);
  return api.SessionOptionsAppendExecutionProvider_OpenVINO(&options, &openvino);
}

OrtStatus* append_cuda(const OrtApi& api, OrtSessionOptions& options) {
  OrtCUDAProviderOptionsV2* raw = nullptr;
  if (OrtStatus* status = api.CreateCUDAProviderOptions(&raw)) return status;
  const Owned<OrtCUDAProviderOptionsV2> cuda(raw, {api.ReleaseCUDAProviderOptions});
  return api.SessionOptionsAppendExecutionProvider_CUDA_V2(&options, raw);
}

OrtStatus* append_tensorrt(const OrtApi& api, OrtSessionOptions& options, const SessionSettings& settings) {
  OrtTensorRTProviderOptionsV2* raw = nullptr;
  if (OrtStatus* status = api.CreateTensorRTProviderOptions(&raw)) return status;
  const Owned<OrtTensorRTProviderOptionsV2> tensorrt(raw, {api.ReleaseTensorRTProviderOptions});
  if (!settings.engine_folder.empty()) {
    const std::array keys{"trt_engine_cache_enable", "trt_engine_cache_path", "trt_timing_cache_enable",
                          "trt_timing_cache_path"};
    const std::array values{"1", settings.engine_folder.c_str(), "1", settings.timing_folder.c_str()};
    std::size_t count = settings.timing_folder.empty() ? 2 : keys.size();
    OrtStatus* status = api.UpdateTensorRTProviderOptions(raw, keys.data(), values.data(), count);
    if (status != nullptr && count > 2) {
      // Older libraries take no path of the timings.
      api.ReleaseStatus(status);
      status = api.UpdateTensorRTProviderOptions(raw, keys.data(), values.data(), 2);
    }
    if (status != nullptr) return status;
  }
  return api.SessionOptionsAppendExecutionProvider_TensorRT_V2(&options, raw);
}

OrtStatus* append(const OrtApi& api, OrtSessionOptions& options, const SessionSettings& settings) {
  const std::string& provider = settings.provider;
  const int threads = settings.threads;
  if (provider == "xnnpack") return append_xnnpack(api, options, threads);
  if (provider == "dnnl") return append_dnnl(api, options);
  if (provider == "openvino") return append_openvino(api, options, threads);
  if (provider == "cuda") return append_cuda(api, options);
  if (provider == "tensorrt") return append_tensorrt(api, options, settings);
  return nullptr;  // the CPU's is always there
}

}  // namespace

std::optional<std::string_view> provider_name(std::string_view onnxruntime_name) {
  const auto* found = std::ranges::find(kKnown, onnxruntime_name, &Known::onnxruntime_name);
  return found == kKnown.end() ? std::nullopt : std::optional(found->name);
}

std::optional<std::string> failure(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return std::nullopt;
  std::string message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  for (char& c : message) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return message;
}

std::expected<void, Error> append_provider(const OrtApi& api, OrtSessionOptions& options,
                                           const SessionSettings& settings, const std::vector<std::string>& available) {
  const std::string& provider = settings.provider;
  if (std::ranges::find(available, provider) == available.end()) {
    std::string names;
    for (const std::string& name : available) names += (names.empty() ? "" : ", ") + name;
    return std::unexpected(Error{std::format(
        "provider '{}' is not in this build of ONNX Runtime, which offers {}; use one of these, or name another build "
        "with --onnxruntime PATH",
        provider, names)});
  }
  if (const auto why = failure(api, append(api, options, settings))) {
    return std::unexpected(Error{std::format("provider '{}' does not start: {}", provider, *why)});
  }
  return {};
}

std::string tensorrt_name(int version) {
  constexpr int kSinceTen = 10'000;
  const int major = version >= kSinceTen ? version / 10'000 : version / 1000;
  const int rest = version >= kSinceTen ? version % 10'000 : version % 1000;
  return std::format("TensorRT {}.{}.{}", major, rest / 100, rest % 100);
}

std::string tensorrt_of(const std::filesystem::path& onnxruntime) {
  std::error_code error;
  const auto folder = std::filesystem::weakly_canonical(onnxruntime, error).parent_path();
  void* provider = dlopen((folder / "libonnxruntime_providers_tensorrt.so").c_str(), RTLD_LAZY | RTLD_LOCAL);
  if (provider == nullptr) return {};
  // Looked for in what the provider needs too, which is where it is.
  void* found = dlsym(provider, "getInferLibVersion");
  return found == nullptr ? std::string() : tensorrt_name(reinterpret_cast<int (*)()>(found)());
}

void ORT_API_CALL PlacementLog::listen(void* placement_log, OrtLoggingLevel level, const char*, const char*,
                                       const char*, const char* message) {
  if (level >= ORT_LOGGING_LEVEL_ERROR) std::fprintf(stderr, "%s\n", message);  // as without a listener
  static_cast<PlacementLog*>(placement_log)->hear(message);
}

// " Node(s) placed on [XnnpackExecutionProvider]. Number of nodes: 5", the nodes follow as "  Conv (name)"; or
// " All nodes placed on [...]. Number of nodes: 7" without them.
void PlacementLog::hear(std::string_view message) {
  constexpr std::string_view kPlaced = "placed on [", kCount = "]. Number of nodes: ";
  if (const std::size_t at = message.find(kPlaced); at != std::string_view::npos) {
    const std::string_view rest = message.substr(at + kPlaced.size());
    const std::size_t end = rest.find(kCount);
    if (end == std::string_view::npos) return;
    const std::string_view provider = rest.substr(0, end), digits = rest.substr(end + kCount.size());
    NodePlacement placement{
        .provider = std::string(provider_name(provider).value_or(provider)), .nodes = 0, .operators = {}};
    std::from_chars(digits.data(), digits.data() + digits.size(), placement.nodes);
    placements_.push_back(std::move(placement));
    return;
  }
  // Only right behind its heading: other parts of the runtime indent too.
  if (placements_.empty() || !message.starts_with("  ")) return;
  const std::string_view node = message.substr(2);
  const std::string operation(node.substr(0, node.find(' ')));
  std::vector<std::string>& known = placements_.back().operators;
  if (!operation.empty() && std::ranges::find(known, operation) == known.end()) known.push_back(operation);
}

std::vector<NodePlacement> PlacementLog::take() {
  return std::exchange(placements_, {});
}

}  // namespace finch::agent
