#include "agent/onnxruntime_backend.hpp"

#include <onnxruntime_c_api.h>
#include <sys/auxv.h>
#include <sys/utsname.h>

#include <algorithm>
#include <array>
#include <format>
#include <optional>
#include <utility>

#include "agent/onnxruntime_providers.hpp"
#include "agent/shared_library.hpp"

namespace finch::agent {
namespace {

// The struct of functions only ever grows: asked for version 16, any later library gives one that begins like it.
// Nothing that came after version 16 may be called through it.
constexpr std::uint32_t kApiVersion = 16;

std::optional<ElementType> element_type(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return ElementType::kFloat32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return ElementType::kFloat16;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE:
      return ElementType::kFloat64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
      return ElementType::kInt8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8:
      return ElementType::kUint8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
      return ElementType::kInt32;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return ElementType::kInt64;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL:
      return ElementType::kBool;
    default:
      return std::nullopt;
  }
}

ONNXTensorElementDataType ort_type(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case ElementType::kFloat16:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    case ElementType::kFloat64:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE;
    case ElementType::kInt8:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
    case ElementType::kUint8:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    case ElementType::kInt32:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
    case ElementType::kInt64:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    case ElementType::kBool:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
  }
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

class OrtModelSession final : public InferenceSession {
 public:
  OrtModelSession(const OrtApi& api, Owned<OrtSession> session, std::vector<NodePlacement> placements)
      : api_(api), session_(std::move(session)), placements_(std::move(placements)) {
    OrtMemoryInfo* memory = nullptr;
    if (!failure(api_, api_.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory))) {
      memory_ = Owned<OrtMemoryInfo>(memory, {api_.ReleaseMemoryInfo});
    }
  }

  ~OrtModelSession() override { release_outputs(); }

  // For a session that was made with its log on: the runs are as quiet as any.
  std::expected<void, Error> quieten() {
    OrtRunOptions* options = nullptr;
    if (auto why = failure(api_, api_.CreateRunOptions(&options))) return std::unexpected(Error{*why});
    run_options_ = Owned<OrtRunOptions>(options, {api_.ReleaseRunOptions});
    if (auto why = failure(api_, api_.RunOptionsSetRunLogSeverityLevel(options, ORT_LOGGING_LEVEL_ERROR))) {
      return std::unexpected(Error{*why});
    }
    return {};
  }

  // Reads what the model's inputs and outputs are.
  std::expected<void, Error> describe() {
    OrtAllocator* allocator = nullptr;
    if (auto why = failure(api_, api_.GetAllocatorWithDefaultOptions(&allocator))) return std::unexpected(Error{*why});
    for (const bool input : {true, false}) {
      std::size_t count = 0;
      OrtStatus* counted = input ? api_.SessionGetInputCount(session_.get(), &count)
                                 : api_.SessionGetOutputCount(session_.get(), &count);
      if (auto why = failure(api_, counted)) return std::unexpected(Error{*why});
      for (std::size_t i = 0; i < count; ++i) {
        char* name = nullptr;
        OrtStatus* named = input ? api_.SessionGetInputName(session_.get(), i, allocator, &name)
                                 : api_.SessionGetOutputName(session_.get(), i, allocator, &name);
        if (auto why = failure(api_, named)) return std::unexpected(Error{*why});
        TensorInfo info;
        info.name = name;
        static_cast<void>(failure(api_, api_.AllocatorFree(allocator, name)));
        OrtTypeInfo* type = nullptr;
        OrtStatus* typed = input ? api_.SessionGetInputTypeInfo(session_.get(), i, &type)
                                 : api_.SessionGetOutputTypeInfo(session_.get(), i, &type);
        if (auto why = failure(api_, typed)) return std::unexpected(Error{*why});
        const Owned<OrtTypeInfo> owned(type, {api_.ReleaseTypeInfo});
        if (auto read = read_tensor_info(*type, info); !read) return read;
        (input ? inputs_ : outputs_).push_back(std::move(info));
      }
    }
    for (const auto& info : inputs_) input_names_.push_back(info.name.c_str());
    for (const auto& info : outputs_) output_names_.push_back(info.name.c_str());
    input_values_.resize(inputs_.size());
    output_values_.assign(outputs_.size(), nullptr);
    return {};
  }

  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }

  std::expected<void, Error> bind(std::size_t index, const std::vector<std::int64_t>& shape,
                                  std::span<std::byte> bytes) override {
    OrtValue* value = nullptr;
    if (auto why =
            failure(api_, api_.CreateTensorWithDataAsOrtValue(memory_.get(), bytes.data(), bytes.size(), shape.data(),
                                                              shape.size(), ort_type(inputs_[index].type), &value))) {
      return std::unexpected(Error{std::format("input '{}': {}", inputs_[index].name, *why)});
    }
    input_values_[index] = Owned<OrtValue>(value, {api_.ReleaseValue});
    bound_.clear();
    for (const auto& input : input_values_) bound_.push_back(input.get());
    return {};
  }

  std::expected<void, Error> run() override {
    release_outputs();
    if (auto why =
            failure(api_, api_.Run(session_.get(), run_options_.get(), input_names_.data(), bound_.data(),
                                   bound_.size(), output_names_.data(), output_names_.size(), output_values_.data()))) {
      return std::unexpected(Error{std::format("the model does not run: {}", *why)});
    }
    return {};
  }

  std::vector<NodePlacement> placements() const override { return placements_; }

  std::expected<FloatTensor, Error> output(std::size_t index) const override {
    OrtTensorTypeAndShapeInfo* raw = nullptr;
    if (auto why = failure(api_, api_.GetTensorTypeAndShape(output_values_[index], &raw))) {
      return std::unexpected(Error{*why});
    }
    const Owned<OrtTensorTypeAndShapeInfo> shape(raw, {api_.ReleaseTensorTypeAndShapeInfo});
    std::size_t rank = 0;
    std::size_t count = 0;
    void* data = nullptr;
    if (auto why = failure(api_, api_.GetDimensionsCount(raw, &rank))) return std::unexpected(Error{*why});
    FloatTensor tensor;
    tensor.shape.resize(rank);
    if (auto why = failure(api_, api_.GetDimensions(raw, tensor.shape.data(), rank))) {
      return std::unexpected(Error{*why});
    }
    if (auto why = failure(api_, api_.GetTensorShapeElementCount(raw, &count))) return std::unexpected(Error{*why});
    if (auto why = failure(api_, api_.GetTensorMutableData(output_values_[index], &data))) {
      return std::unexpected(Error{*why});
    }
    tensor.values = to_floats(outputs_[index].type, data, count);
    return tensor;
  }

 private:
  std::expected<void, Error> read_tensor_info(const OrtTypeInfo& type, TensorInfo& info) const {
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;  // borrowed from `type`
    if (auto why = failure(api_, api_.CastTypeInfoToTensorInfo(&type, &tensor))) return std::unexpected(Error{*why});
    if (tensor == nullptr) {
      return std::unexpected(Error{std::format("'{}' is not a tensor; only tensors can be measured", info.name)});
    }
    ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    std::size_t rank = 0;
    if (auto why = failure(api_, api_.GetTensorElementType(tensor, &element))) return std::unexpected(Error{*why});
    if (auto why = failure(api_, api_.GetDimensionsCount(tensor, &rank))) return std::unexpected(Error{*why});
    info.shape.resize(rank);
    if (auto why = failure(api_, api_.GetDimensions(tensor, info.shape.data(), rank))) {
      return std::unexpected(Error{*why});
    }
    const auto known = element_type(element);
    if (!known) {
      return std::unexpected(Error{std::format("'{}' has element type {} (onnx numbering), which cannot be measured",
                                               info.name, static_cast<int>(element))});
    }
    info.type = *known;
    return {};
  }

  void release_outputs() {
    for (OrtValue*& value : output_values_) {
      if (value != nullptr) api_.ReleaseValue(value);
      value = nullptr;
    }
  }

  const OrtApi& api_;
  Owned<OrtSession> session_;
  std::vector<NodePlacement> placements_;
  Owned<OrtRunOptions> run_options_;  // null: the defaults
  Owned<OrtMemoryInfo> memory_;
  std::vector<TensorInfo> inputs_, outputs_;
  std::vector<const char*> input_names_, output_names_;
  std::vector<Owned<OrtValue>> input_values_;
  std::vector<const OrtValue*> bound_;
  std::vector<OrtValue*> output_values_;  // of the last run
};

class OrtBackend final : public InferenceBackend {
 public:
  OrtBackend(const OrtApi& api, std::filesystem::path library, std::string version, std::unique_ptr<PlacementLog> log,
             Owned<OrtEnv> environment)
      : api_(api),
        library_(std::move(library)),
        version_(std::move(version)),
        log_(std::move(log)),
        environment_(std::move(environment)) {}

  std::string version() const override { return version_; }

  std::vector<std::string> providers() const override {
    std::vector<std::string> providers;
    char** names = nullptr;
    int count = 0;
    if (failure(api_, api_.GetAvailableProviders(&names, &count))) return providers;
    for (int i = 0; i < count; ++i) {
      if (const auto name = provider_name(names[i])) providers.emplace_back(*name);
    }
    static_cast<void>(failure(api_, api_.ReleaseAvailableProviders(names, count)));
    std::ranges::stable_partition(providers, [](const std::string& name) { return name == "cpu"; });
    return providers;
  }

  std::string engine_builder() const override {
    return std::ranges::contains(providers(), "tensorrt") ? tensorrt_of(library_) : std::string();
  }

  std::expected<std::unique_ptr<InferenceSession>, Error> load(const std::filesystem::path& model,
                                                               const SessionSettings& settings) override {
    return create(settings, [&](const OrtSessionOptions* options, OrtSession** session) {
      return api_.CreateSession(environment_.get(), model.c_str(), options, session);
    });
  }

  std::expected<std::unique_ptr<InferenceSession>, Error> load(std::span<const std::byte> model,
                                                               const SessionSettings& settings) override {
    return create(settings, [&](const OrtSessionOptions* options, OrtSession** session) {
      return api_.CreateSessionFromArray(environment_.get(), model.data(), model.size(), options, session);
    });
  }

 private:
  std::expected<std::unique_ptr<InferenceSession>, Error> create(const SessionSettings& settings, auto&& make) {
    OrtSessionOptions* raw = nullptr;
    if (auto why = failure(api_, api_.CreateSessionOptions(&raw))) return std::unexpected(Error{*why});
    const Owned<OrtSessionOptions> options(raw, {api_.ReleaseSessionOptions});
    // A trained network's denormal weights and activations cost a hundred times a normal one's on some processors.
    for (OrtStatus* status :
         {api_.SetIntraOpNumThreads(raw, settings.threads), api_.SetInterOpNumThreads(raw, 1),
          api_.SetSessionExecutionMode(raw, ORT_SEQUENTIAL), api_.SetSessionGraphOptimizationLevel(raw, ORT_ENABLE_ALL),
          api_.AddSessionConfigEntry(raw, "session.set_denormal_as_zero", "1")}) {
      if (auto why = failure(api_, status)) return std::unexpected(Error{*why});
    }
    if (!settings.profile.empty()) {
      if (auto why = failure(api_, api_.EnableProfiling(raw, settings.profile.c_str()))) {
        return std::unexpected(Error{*why});
      }
    }
    const bool plain = settings.provider == "cpu";
    if (!plain) {
      if (auto appended = append_provider(api_, *raw, settings, providers()); !appended) {
        return std::unexpected(appended.error());
      }
      // Which node goes where is said in the log alone.
      if (auto why = failure(api_, api_.SetSessionLogSeverityLevel(raw, ORT_LOGGING_LEVEL_VERBOSE))) {
        return std::unexpected(Error{*why});
      }
    }
    OrtSession* session = nullptr;
    const auto why = failure(api_, make(raw, &session));
    std::vector<NodePlacement> placements = log_->take();
    if (why) return std::unexpected(Error{*why});
    auto made = std::make_unique<OrtModelSession>(api_, Owned<OrtSession>(session, {api_.ReleaseSession}),
                                                  std::move(placements));
    if (auto described = made->describe(); !described) return std::unexpected(described.error());
    if (plain) return made;
    if (auto quiet = made->quieten(); !quiet) return std::unexpected(quiet.error());
    if (std::ranges::none_of(made->placements(),
                             [&](const NodePlacement& placed) { return placed.provider == settings.provider; })) {
      return std::unexpected(
          Error{std::format("provider '{}' takes no node of the model, which would run on the CPU alone; use provider "
                            "cpu",
                            settings.provider)});
    }
    return made;
  }

  const OrtApi& api_;
  std::filesystem::path library_;
  std::string version_;
  std::unique_ptr<PlacementLog> log_;
  Owned<OrtEnv> environment_;  // tells the log
};

}  // namespace

std::expected<std::unique_ptr<InferenceBackend>, Error> open_onnxruntime(const std::filesystem::path& library) {
  utsname system{};
  uname(&system);
  if (auto why = refuse_library(library, system.machine, getauxval(AT_HWCAP))) return std::unexpected(Error{*why});
  const auto loaded = SharedLibrary::open(*find_runtime("onnxruntime"), library);
  if (!loaded) return std::unexpected(loaded.error());
  const OrtApiBase* (*get_base)() = nullptr;
  if (auto found = loaded->find(std::array{symbol("OrtGetApiBase", get_base)}); !found) {
    return std::unexpected(found.error());
  }
  const OrtApiBase* base = get_base();
  const OrtApi* api = base->GetApi(kApiVersion);
  if (api == nullptr) {
    return std::unexpected(Error{
        std::format("{} is ONNX Runtime {}; 1.16 or later is needed", library.string(), base->GetVersionString())});
  }
  OrtEnv* environment = nullptr;
  auto log = std::make_unique<PlacementLog>();
  if (auto why = failure(*api, api->CreateEnvWithCustomLogger(&PlacementLog::listen, log.get(), ORT_LOGGING_LEVEL_ERROR,
                                                              "finch", &environment))) {
    return std::unexpected(Error{std::format("ONNX Runtime does not start: {}", *why)});
  }
  // No telemetry is sent by Linux builds; asked for all the same.
  static_cast<void>(failure(*api, api->DisableTelemetryEvents(environment)));
  return std::make_unique<OrtBackend>(*api, library, base->GetVersionString(), std::move(log),
                                      Owned<OrtEnv>(environment, {api->ReleaseEnv}));
}

}  // namespace finch::agent
