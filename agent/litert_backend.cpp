#include "agent/litert_backend.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <format>
#include <optional>
#include <utility>

#include "agent/shared_library.hpp"

// The part of LiteRT's C interface that is used here, as litert/c/*.h of google-ai-edge/LiteRT (2.3) say.
namespace finch::agent {
namespace {

using Status = int;  // 0: good
struct Environment;
struct Model;
struct Signature;  // borrowed from the model, like Tensor
struct Tensor;
struct Options;
struct OpaqueOptions;
struct Compiled;
struct Buffer;
struct Layout {
  unsigned rank : 7;
  unsigned has_strides : 1;
  std::int32_t extents[8];  // -1: free
  std::uint32_t strides[8];
};
struct TensorType {
  int element_type;
  Layout layout;
};
static_assert(sizeof(TensorType) == 72);
struct EnvironmentOption {
  int tag;
  struct {
    int kind;
    std::int64_t value;
  } value;
};
static_assert(sizeof(EnvironmentOption) == 24);

constexpr int kAccelerators = 24, kMinimumLogSeverity = 25, kKindInteger = 2;  // of an EnvironmentOption
constexpr std::int64_t kLogErrors = 3;
constexpr int kProcessor = 1;   // of the accelerators
constexpr int kHostMemory = 1;  // of the buffers
constexpr int kLockToRead = 0, kLockToWrite = 1;
constexpr std::int64_t kFree = -1;
constexpr std::size_t kSignature = 0;  // a model without one is given one

struct Api {
  Status (*environment_create)(int, const EnvironmentOption*, Environment**);
  void (*environment_destroy)(Environment*);
  Status (*model_from_file)(Environment*, const char*, Model**);
  Status (*model_from_buffer)(Environment*, const void*, std::size_t, Model**);
  void (*model_destroy)(Model*);
  Status (*signature)(Model*, std::size_t, Signature**);
  Status (*input_count)(Signature*, std::size_t*);
  Status (*output_count)(Signature*, std::size_t*);
  Status (*input_name)(Signature*, std::size_t, const char**);
  Status (*output_name)(Signature*, std::size_t, const char**);
  Status (*input_tensor)(Signature*, std::size_t, Tensor**);
  Status (*output_tensor)(Signature*, std::size_t, Tensor**);
  Status (*tensor_type)(Tensor*, TensorType*);
  Status (*options_create)(Options**);
  void (*options_destroy)(Options*);
  Status (*use_accelerators)(Options*, int);
  Status (*opaque_create)(const char*, void*, void (*)(void*), OpaqueOptions**);
  Status (*add_opaque)(Options*, OpaqueOptions*);
  Status (*compile)(Environment*, Model*, Options*, Compiled**);
  void (*compiled_destroy)(Compiled*);
  Status (*resize_input)(Compiled*, std::size_t, std::size_t, const int*, std::size_t);
  Status (*output_layouts)(Compiled*, std::size_t, std::size_t, Layout*, bool);
  Status (*run)(Compiled*, std::size_t, std::size_t, Buffer**, std::size_t, Buffer**);
  Status (*buffer_create)(Environment*, int, const TensorType*, std::size_t, Buffer**);
  Status (*buffer_lock)(Buffer*, void**, int);
  Status (*buffer_unlock)(Buffer*);
  void (*buffer_destroy)(Buffer*);
};

std::expected<void, Error> find_all(const SharedLibrary& library, Api& api) {
  return library.find(std::array{
      symbol("LiteRtCreateEnvironment", api.environment_create),
      symbol("LiteRtDestroyEnvironment", api.environment_destroy),
      symbol("LiteRtCreateModelFromFile", api.model_from_file),
      symbol("LiteRtCreateModelFromBuffer", api.model_from_buffer),
      symbol("LiteRtDestroyModel", api.model_destroy),
      symbol("LiteRtGetModelSignature", api.signature),
      symbol("LiteRtGetNumSignatureInputs", api.input_count),
      symbol("LiteRtGetNumSignatureOutputs", api.output_count),
      symbol("LiteRtGetSignatureInputName", api.input_name),
      symbol("LiteRtGetSignatureOutputName", api.output_name),
      symbol("LiteRtGetSignatureInputTensorByIndex", api.input_tensor),
      symbol("LiteRtGetSignatureOutputTensorByIndex", api.output_tensor),
      symbol("LiteRtGetRankedTensorType", api.tensor_type),
      symbol("LiteRtCreateOptions", api.options_create),
      symbol("LiteRtDestroyOptions", api.options_destroy),
      symbol("LiteRtSetOptionsHardwareAccelerators", api.use_accelerators),
      symbol("LiteRtCreateOpaqueOptions", api.opaque_create),
      symbol("LiteRtAddOpaqueOptions", api.add_opaque),
      symbol("LiteRtCreateCompiledModel", api.compile),
      symbol("LiteRtDestroyCompiledModel", api.compiled_destroy),
      symbol("LiteRtCompiledModelResizeInputTensor", api.resize_input),
      symbol("LiteRtGetCompiledModelOutputTensorLayouts", api.output_layouts),
      symbol("LiteRtRunCompiledModel", api.run),
      symbol("LiteRtCreateManagedTensorBuffer", api.buffer_create),
      symbol("LiteRtLockTensorBuffer", api.buffer_lock),
      symbol("LiteRtUnlockTensorBuffer", api.buffer_unlock),
      symbol("LiteRtDestroyTensorBuffer", api.buffer_destroy),
  });
}

// LiteRtElementType
constexpr std::array<std::pair<int, ElementType>, 8> kTypes{{{1, ElementType::kFloat32},
                                                             {2, ElementType::kInt32},
                                                             {3, ElementType::kUint8},
                                                             {4, ElementType::kInt64},
                                                             {6, ElementType::kBool},
                                                             {9, ElementType::kInt8},
                                                             {10, ElementType::kFloat16},
                                                             {11, ElementType::kFloat64}}};

std::optional<ElementType> element_type(int type) {
  const auto* found = std::ranges::find(kTypes, type, &std::pair<int, ElementType>::first);
  return found == kTypes.end() ? std::nullopt : std::optional(found->second);
}

// The library does not hand out its own words for them.
std::string text(Status status) {
  constexpr std::array<std::pair<Status, const char*>, 12> kKnown{{{1, "invalid argument"},
                                                                   {2, "Failed to allocate memory"},
                                                                   {3, "it fails while it runs"},
                                                                   {4, "an input is missing"},
                                                                   {5, "it has something that is not supported"},
                                                                   {6, "something is not found"},
                                                                   {8, "it is made for another version"},
                                                                   {500, "the file cannot be read"},
                                                                   {501,
                                                                    "it is no TensorFlow Lite file, or not a whole "
                                                                    "one"},
                                                                   {504, "it cannot be compiled"},
                                                                   {1000, "an index in it is out of range"},
                                                                   {1001, "a type in it is not valid"}}};
  const auto* found = std::ranges::find(kKnown, status, &std::pair<Status, const char*>::first);
  return found == kKnown.end() ? std::format("LiteRT's status {}", status) : found->second;
}

std::vector<std::int64_t> extents(const Layout& layout) {
  return {layout.extents, layout.extents + std::min<unsigned>(layout.rank, std::size(layout.extents))};
}

// Bytes of a tensor whose extents are all known.
std::size_t byte_size(const TensorType& type) {
  std::size_t size = size_of(*element_type(type.element_type));
  for (const std::int64_t extent : extents(type.layout))
    size *= static_cast<std::size_t>(std::max<std::int64_t>(extent, 1));
  return size;
}

class LiteRtSession final : public InferenceSession {
 public:
  LiteRtSession(const Api& api, Environment& environment, Owned<Model> model)
      : api_(api), environment_(environment), model_(std::move(model)) {}

  std::expected<void, Error> describe() {
    Signature* signature = nullptr;
    if (const Status status = api_.signature(model_.get(), kSignature, &signature)) return failed(status);
    for (const bool input : {true, false}) {
      std::size_t count = 0;
      if (const Status status = (input ? api_.input_count : api_.output_count)(signature, &count))
        return failed(status);
      for (std::size_t i = 0; i < count; ++i) {
        const char* name = nullptr;
        Tensor* tensor = nullptr;
        TensorType type{};
        if (const Status status = (input ? api_.input_name : api_.output_name)(signature, i, &name))
          return failed(status);
        if (const Status status = (input ? api_.input_tensor : api_.output_tensor)(signature, i, &tensor)) {
          return failed(status);
        }
        if (const Status status = api_.tensor_type(tensor, &type)) return failed(status);
        const auto known = element_type(type.element_type);
        if (!known) {
          return std::unexpected(Error{std::format(
              "'{}' has element type {} (LiteRT's numbering), which cannot be measured", name, type.element_type)});
        }
        // The library does not tell which sizes are free, but lets a batch of one be resized where it is.
        std::vector<std::int64_t> shape = extents(type.layout);
        if (shape.size() > 1 && shape.front() == 1) shape.front() = kFree;
        (input ? inputs_ : outputs_).push_back({.name = name, .type = *known, .shape = std::move(shape)});
        (input ? input_types_ : output_types_).push_back(type);
      }
    }
    input_buffers_.resize(inputs_.size());
    return {};
  }

  std::expected<void, Error> compile(int threads) {
    Options* raw = nullptr;
    if (const Status status = api_.options_create(&raw)) return failed(status);
    const Owned<Options> options(raw, {api_.options_destroy});
    // What the library's own interface in C++ hands over: settings as TOML, under this name.
    const std::string settings = std::format("num_threads = {}\n", threads);
    char* payload = new char[settings.size() + 1];
    std::memcpy(payload, settings.c_str(), settings.size() + 1);
    OpaqueOptions* processor = nullptr;
    const auto destroy = [](void* bytes) { delete[] static_cast<char*>(bytes); };
    if (const Status status = api_.opaque_create("xnnpack", payload, destroy, &processor)) {
      destroy(payload);
      return failed(status);
    }
    if (const Status status = api_.add_opaque(raw, processor)) return failed(status);
    if (const Status status = api_.use_accelerators(raw, kProcessor)) return failed(status);
    Compiled* compiled = nullptr;
    if (const Status status = api_.compile(&environment_, model_.get(), raw, &compiled)) return failed(status);
    compiled_ = Owned<Compiled>(compiled, {api_.compiled_destroy});
    return {};
  }

  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }

  // The library wants memory of its own alignment, so the bytes are copied.
  std::expected<void, Error> bind(std::size_t index, const std::vector<std::int64_t>& shape,
                                  std::span<std::byte> bytes) override {
    TensorType& type = input_types_[index];
    if (extents(type.layout) != shape) {
      if (shape.size() != type.layout.rank) {
        return std::unexpected(Error{std::format("input '{}' has {} dimensions, {} were given", inputs_[index].name,
                                                 unsigned{type.layout.rank}, shape.size())});
      }
      const std::vector<int> wanted(shape.begin(), shape.end());
      if (const Status status = api_.resize_input(compiled_.get(), kSignature, index, wanted.data(), wanted.size())) {
        return failed(status);
      }
      std::ranges::copy(wanted, type.layout.extents);
      input_buffers_[index].reset();
      output_buffers_.clear();
    }
    if (!input_buffers_[index]) {
      auto made = make_buffer(type);
      if (!made) return std::unexpected(made.error());
      input_buffers_[index] = std::move(*made);
    }
    void* memory = nullptr;
    if (const Status status = api_.buffer_lock(input_buffers_[index].get(), &memory, kLockToWrite))
      return failed(status);
    if (!bytes.empty()) std::memcpy(memory, bytes.data(), std::min(bytes.size(), byte_size(type)));
    if (const Status status = api_.buffer_unlock(input_buffers_[index].get())) return failed(status);
    const bool all = std::ranges::none_of(input_buffers_, [](const auto& buffer) { return buffer == nullptr; });
    if (all && output_buffers_.empty()) return make_outputs();
    return {};
  }

  std::expected<void, Error> run() override {
    if (output_buffers_.empty()) {  // a model without inputs
      if (auto made = make_outputs(); !made) return made;
    }
    if (const Status status =
            api_.run(compiled_.get(), kSignature, ins_.size(), ins_.data(), outs_.size(), outs_.data())) {
      return std::unexpected(Error{std::format("the model does not run: {}", text(status))});
    }
    return {};
  }

  std::expected<FloatTensor, Error> output(std::size_t index) const override {
    const TensorType& type = output_types_[index];
    void* memory = nullptr;
    if (const Status status = api_.buffer_lock(outs_[index], &memory, kLockToRead)) return failed(status);
    FloatTensor tensor{.shape = extents(type.layout), .values = {}};
    const ElementType element = outputs_[index].type;
    tensor.values = to_floats(element, memory, byte_size(type) / size_of(element));
    if (const Status status = api_.buffer_unlock(outs_[index])) return failed(status);
    return tensor;
  }

 private:
  static std::unexpected<Error> failed(Status status) { return std::unexpected(Error{text(status)}); }

  std::expected<Owned<Buffer>, Error> make_buffer(const TensorType& type) const {
    Buffer* raw = nullptr;
    if (const Status status = api_.buffer_create(&environment_, kHostMemory, &type, byte_size(type), &raw)) {
      return failed(status);
    }
    return Owned<Buffer>(raw, {api_.buffer_destroy});
  }

  // Where a shape hangs on the batch only when the model runs, the library still says 1.
  void settle_batch(std::size_t output) {
    Layout& layout = output_types_[output].layout;
    const auto is_free = [](const TensorInfo& info) { return !info.shape.empty() && info.shape.front() == kFree; };
    if (inputs_.empty() || !is_free(inputs_.front()) || !is_free(outputs_[output])) return;
    layout.extents[0] = input_types_.front().layout.extents[0];
  }

  // Once the shapes of all inputs are known.
  std::expected<void, Error> make_outputs() {
    std::vector<Layout> layouts(outputs_.size());
    if (const Status status = api_.output_layouts(compiled_.get(), kSignature, layouts.size(), layouts.data(), true)) {
      return failed(status);
    }
    ins_.clear();
    outs_.clear();
    for (const auto& buffer : input_buffers_) ins_.push_back(buffer.get());
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
      output_types_[i].layout = layouts[i];
      settle_batch(i);
      auto made = make_buffer(output_types_[i]);
      if (!made) return std::unexpected(made.error());
      outs_.push_back(made->get());
      output_buffers_.push_back(std::move(*made));
    }
    return {};
  }

  const Api& api_;
  Environment& environment_;
  Owned<Model> model_;
  std::vector<TensorInfo> inputs_, outputs_;
  std::vector<TensorType> input_types_, output_types_;  // as they are now
  Owned<Compiled> compiled_;
  std::vector<Owned<Buffer>> input_buffers_, output_buffers_;
  std::vector<Buffer*> ins_, outs_;  // the same, for run()
};

class LiteRtBackend final : public InferenceBackend {
 public:
  LiteRtBackend(const Api& api, std::string version, Owned<Environment> environment)
      : api_(api), version_(std::move(version)), environment_(std::move(environment)) {}

  std::string version() const override { return version_; }
  std::string_view format() const override { return "tflite"; }
  std::vector<std::string> providers() const override { return {"cpu"}; }

  std::expected<std::unique_ptr<InferenceSession>, Error> load(const std::filesystem::path& model,
                                                               const SessionSettings& settings) override {
    return create(settings,
                  [&](Model** made) { return api_.model_from_file(environment_.get(), model.c_str(), made); });
  }
  std::expected<std::unique_ptr<InferenceSession>, Error> load(std::span<const std::byte> model,
                                                               const SessionSettings& settings) override {
    return create(settings, [&](Model** made) {
      return api_.model_from_buffer(environment_.get(), model.data(), model.size(), made);
    });
  }

 private:
  std::expected<std::unique_ptr<InferenceSession>, Error> create(const SessionSettings& settings, auto&& read) {
    Model* model = nullptr;
    if (const Status status = read(&model)) return std::unexpected(Error{text(status)});
    auto session = std::make_unique<LiteRtSession>(api_, *environment_, Owned<Model>(model, {api_.model_destroy}));
    if (settings.provider != "cpu") {
      return std::unexpected(
          Error{std::format("LiteRT is run on the processor here: provider 'cpu', not '{}'", settings.provider)});
    }
    if (auto described = session->describe(); !described) return std::unexpected(described.error());
    if (auto compiled = session->compile(settings.threads); !compiled) return std::unexpected(compiled.error());
    return session;
  }

  const Api api_;
  std::string version_;
  Owned<Environment> environment_;
};

// In this thread and those that it will start: a denormal costs a hundred times a normal number on some processors. The
// other runtimes have a setting for it.
void flush_denormals() {
#if defined(__x86_64__)
  constexpr unsigned kFlushToZero = 1U << 15U, kDenormalsAreZero = 1U << 6U;
  __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | kFlushToZero | kDenormalsAreZero);
#elif defined(__aarch64__)
  constexpr unsigned kFlushToZero = 1U << 24U;
  __builtin_aarch64_set_fpcr(__builtin_aarch64_get_fpcr() | kFlushToZero);
#endif
}

}  // namespace

std::expected<std::unique_ptr<InferenceBackend>, Error> open_litert(const std::filesystem::path& library) {
  const auto loaded = SharedLibrary::open(*find_runtime("litert"), library);
  if (!loaded) return std::unexpected(loaded.error());
  Api api{};
  if (auto found = find_all(*loaded, api); !found) return std::unexpected(found.error());
  flush_denormals();
  const std::array<EnvironmentOption, 2> options{
      {{kAccelerators, {kKindInteger, kProcessor}}, {kMinimumLogSeverity, {kKindInteger, kLogErrors}}}};
  Environment* environment = nullptr;
  if (const Status status = api.environment_create(options.size(), options.data(), &environment)) {
    return std::unexpected(Error{std::format("LiteRT does not start: {}", text(status))});
  }
  return std::make_unique<LiteRtBackend>(api, version_beside(library),
                                         Owned<Environment>(environment, {api.environment_destroy}));
}

}  // namespace finch::agent
