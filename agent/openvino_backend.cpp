#include "agent/openvino_backend.hpp"

#include <algorithm>
#include <array>
#include <format>
#include <optional>
#include <utility>

#include "agent/shared_library.hpp"

// The part of OpenVINO's C interface that is used here, as its headers openvino/c/*.h (2025.2 to 2026.4) say.
namespace finch::agent {
namespace {

using Status = int;  // 0: good
struct Core;
struct Model;
struct Port;  // ov_output_const_port_t
struct Compiled;
struct Request;
struct Tensor;
struct Version {
  const char* build;  // "2026.4.1-22982-..."
  const char* description;
};
struct Shape {
  std::int64_t rank;
  std::int64_t* extents;
};
struct Dimension {
  std::int64_t low, high;  // equal: fixed
};
struct PartialShape {
  Dimension rank;
  Dimension* extents;
};

struct Api {
  Status (*get_version)(Version*);
  void (*version_free)(Version*);
  const char* (*last_error)();
  void (*free)(const char*);
  Status (*core_create)(Core**);
  void (*core_free)(Core*);
  Status (*read_model)(const Core*, const char*, const char*, Model**);
  Status (*read_model_from_memory)(const Core*, const char*, std::size_t, const Tensor*, Model**);
  Status (*compile_model)(const Core*, const Model*, const char*, std::size_t, Compiled**, ...);
  void (*model_free)(Model*);
  Status (*inputs_size)(const Model*, std::size_t*);
  Status (*outputs_size)(const Model*, std::size_t*);
  Status (*input)(const Model*, std::size_t, Port**);
  Status (*output)(const Model*, std::size_t, Port**);
  Status (*reshape)(const Model*, const std::size_t*, const PartialShape*, std::size_t);
  Status (*port_name)(const Port*, char**);
  Status (*port_shape)(const Port*, PartialShape*);
  Status (*port_type)(const Port*, unsigned*);
  void (*port_free)(Port*);
  Status (*partial_shape_create)(std::int64_t, const std::int64_t*, PartialShape*);
  void (*partial_shape_free)(PartialShape*);
  void (*compiled_free)(Compiled*);
  Status (*create_request)(const Compiled*, Request**);
  void (*request_free)(Request*);
  Status (*set_input)(Request*, std::size_t, const Tensor*);
  Status (*get_output)(const Request*, std::size_t, Tensor**);
  Status (*infer)(Request*);
  Status (*tensor_create)(unsigned, Shape, void*, Tensor**);
  Status (*tensor_shape)(const Tensor*, Shape*);
  Status (*tensor_size)(const Tensor*, std::size_t*);
  Status (*tensor_data)(const Tensor*, void**);
  void (*tensor_free)(Tensor*);
  Status (*shape_free)(Shape*);
};

std::expected<void, Error> find_all(const SharedLibrary& library, Api& api) {
  return library.find(std::array{
      symbol("ov_get_openvino_version", api.get_version),
      symbol("ov_version_free", api.version_free),
      symbol("ov_get_last_err_msg", api.last_error),
      symbol("ov_free", api.free),
      symbol("ov_core_create", api.core_create),
      symbol("ov_core_free", api.core_free),
      symbol("ov_core_read_model", api.read_model),
      symbol("ov_core_read_model_from_memory_buffer", api.read_model_from_memory),
      symbol("ov_core_compile_model", api.compile_model),
      symbol("ov_model_free", api.model_free),
      symbol("ov_model_inputs_size", api.inputs_size),
      symbol("ov_model_outputs_size", api.outputs_size),
      symbol("ov_model_const_input_by_index", api.input),
      symbol("ov_model_const_output_by_index", api.output),
      symbol("ov_model_reshape_by_port_indexes", api.reshape),
      symbol("ov_port_get_any_name", api.port_name),
      symbol("ov_port_get_partial_shape", api.port_shape),
      symbol("ov_port_get_element_type", api.port_type),
      symbol("ov_output_const_port_free", api.port_free),
      symbol("ov_partial_shape_create_static", api.partial_shape_create),
      symbol("ov_partial_shape_free", api.partial_shape_free),
      symbol("ov_compiled_model_free", api.compiled_free),
      symbol("ov_compiled_model_create_infer_request", api.create_request),
      symbol("ov_infer_request_free", api.request_free),
      symbol("ov_infer_request_set_input_tensor_by_index", api.set_input),
      symbol("ov_infer_request_get_output_tensor_by_index", api.get_output),
      symbol("ov_infer_request_infer", api.infer),
      symbol("ov_tensor_create_from_host_ptr", api.tensor_create),
      symbol("ov_tensor_get_shape", api.tensor_shape),
      symbol("ov_tensor_get_size", api.tensor_size),
      symbol("ov_tensor_data", api.tensor_data),
      symbol("ov_tensor_free", api.tensor_free),
      symbol("ov_shape_free", api.shape_free),
  });
}

// ov_element_type_e
constexpr std::array<std::pair<unsigned, ElementType>, 8> kTypes{{{1, ElementType::kBool},
                                                                  {3, ElementType::kFloat16},
                                                                  {4, ElementType::kFloat32},
                                                                  {5, ElementType::kFloat64},
                                                                  {7, ElementType::kInt8},
                                                                  {9, ElementType::kInt32},
                                                                  {10, ElementType::kInt64},
                                                                  {16, ElementType::kUint8}}};

std::optional<ElementType> element_type(unsigned type) {
  const auto* found = std::ranges::find(kTypes, type, &std::pair<unsigned, ElementType>::first);
  return found == kTypes.end() ? std::nullopt : std::optional(found->second);
}
unsigned openvino_type(ElementType type) {
  return std::ranges::find(kTypes, type, &std::pair<unsigned, ElementType>::second)->first;
}

std::string failure(const Api& api) {
  // One line for the user, without the places in OpenVINO's own sources that head it.
  std::string message = api.last_error();
  std::ranges::replace(message, '\n', ' ');
  while (message.starts_with("Exception from ") || message.starts_with("Check ")) {
    const std::size_t end = message.find(": ");
    if (end == std::string::npos) break;
    message.erase(0, end + 2);
  }
  const std::size_t last = message.find_last_not_of(' ');
  return last == std::string::npos ? "OpenVINO does not say why" : message.substr(0, last + 1);
}

class OpenVinoSession final : public InferenceSession {
 public:
  OpenVinoSession(const Api& api, const Core& core, Owned<Model> model, const SessionSettings& settings)
      : api_(api),
        core_(core),
        model_(std::move(model)),
        threads_(std::to_string(settings.threads)),
        engine_folder_(settings.engine_folder) {}

  std::expected<void, Error> describe() {
    for (const bool input : {true, false}) {
      std::size_t count = 0;
      if ((input ? api_.inputs_size : api_.outputs_size)(model_.get(), &count) != 0) return failed();
      for (std::size_t i = 0; i < count; ++i) {
        Port* raw = nullptr;
        if ((input ? api_.input : api_.output)(model_.get(), i, &raw) != 0) return failed();
        const Owned<Port> port(raw, {api_.port_free});
        auto info = read_port(*port, std::format("{} {}", input ? "input" : "output", i));
        if (!info) return std::unexpected(info.error());
        (input ? inputs_ : outputs_).push_back(std::move(*info));
      }
    }
    bound_.resize(inputs_.size());
    return {};
  }

  const std::vector<TensorInfo>& inputs() const override { return inputs_; }
  const std::vector<TensorInfo>& outputs() const override { return outputs_; }

  std::expected<void, Error> bind(std::size_t index, const std::vector<std::int64_t>& shape,
                                  std::span<std::byte> bytes) override {
    if (bound_[index].shape != shape) request_.reset();
    bound_[index].shape = shape;
    std::vector<std::int64_t> extents = shape;
    Tensor* raw = nullptr;
    if (api_.tensor_create(openvino_type(inputs_[index].type),
                           {static_cast<std::int64_t>(extents.size()), extents.data()}, bytes.data(), &raw) != 0) {
      return failed();
    }
    bound_[index].tensor = Owned<Tensor>(raw, {api_.tensor_free});
    if (std::ranges::any_of(bound_, [](const Bound& input) { return input.tensor == nullptr; })) return {};
    if (!request_) {
      if (auto compiled = compile(); !compiled) return compiled;
    }
    for (std::size_t i = 0; i < bound_.size(); ++i) {
      if (api_.set_input(request_.get(), i, bound_[i].tensor.get()) != 0) return failed();
    }
    return {};
  }

  std::expected<void, Error> run() override {
    if (!request_) {  // a model without inputs
      if (auto compiled = compile(); !compiled) return compiled;
    }
    if (api_.infer(request_.get()) != 0) {
      return std::unexpected(Error{std::format("the model does not run: {}", failure(api_))});
    }
    return {};
  }

  std::expected<FloatTensor, Error> output(std::size_t index) const override {
    Tensor* raw = nullptr;
    if (api_.get_output(request_.get(), index, &raw) != 0) return std::unexpected(Error{failure(api_)});
    const Owned<Tensor> tensor(raw, {api_.tensor_free});
    Shape shape{};
    std::size_t count = 0;
    void* data = nullptr;
    if (api_.tensor_shape(raw, &shape) != 0 || api_.tensor_size(raw, &count) != 0 ||
        (count > 0 && api_.tensor_data(raw, &data) != 0)) {
      return std::unexpected(Error{failure(api_)});
    }
    FloatTensor result{.shape = {shape.extents, shape.extents + shape.rank},
                       .values = to_floats(outputs_[index].type, data, count)};
    api_.shape_free(&shape);
    return result;
  }

 private:
  struct Bound {
    std::vector<std::int64_t> shape;
    Owned<Tensor> tensor;
  };

  std::unexpected<Error> failed() const { return std::unexpected(Error{failure(api_)}); }

  std::expected<TensorInfo, Error> read_port(const Port& port, std::string name) const {
    TensorInfo info{.name = std::move(name), .type = {}, .shape = {}};
    char* given = nullptr;
    if (api_.port_name(&port, &given) == 0) {
      info.name = given;
      api_.free(given);
    }
    PartialShape shape{};
    unsigned type = 0;
    if (api_.port_shape(&port, &shape) != 0 || api_.port_type(&port, &type) != 0) return failed();
    const bool ranked = shape.rank.low == shape.rank.high;
    for (std::int64_t i = 0; ranked && i < shape.rank.low; ++i) {
      const Dimension& extent = shape.extents[i];
      info.shape.push_back(extent.low == extent.high ? extent.low : -1);
    }
    api_.partial_shape_free(&shape);
    const auto known = element_type(type);
    if (!ranked || !known) {
      return std::unexpected(
          Error{std::format("'{}' has {}, which cannot be measured", info.name,
                            ranked ? std::format("element type {} (OpenVINO's numbering)", type) : "no known rank")});
    }
    info.type = *known;
    return info;
  }

  // For exactly the bound shapes, and for the least time of a single inference.
  std::expected<void, Error> compile() {
    std::vector<std::size_t> indices;
    std::vector<PartialShape> shapes(bound_.size());
    for (std::size_t i = 0; i < bound_.size(); ++i) {
      indices.push_back(i);
      api_.partial_shape_create(static_cast<std::int64_t>(bound_[i].shape.size()), bound_[i].shape.data(), &shapes[i]);
    }
    const Status reshaped =
        shapes.empty() ? 0 : api_.reshape(model_.get(), indices.data(), shapes.data(), shapes.size());
    for (PartialShape& shape : shapes) api_.partial_shape_free(&shape);
    if (reshaped != 0) return failed();

    constexpr std::size_t kArguments = 14;  // keys and values
    Compiled* compiled = nullptr;
    // float stays float: on processors with bfloat16 or half precision OpenVINO would compute in that. The agent
    // chooses the cores. Denormals as in the other runtimes. Without a folder nothing is kept.
    if (api_.compile_model(&core_, model_.get(), "CPU", kArguments, &compiled, "PERFORMANCE_HINT", "LATENCY",
                           "INFERENCE_NUM_THREADS", threads_.c_str(), "NUM_STREAMS", "1", "INFERENCE_PRECISION_HINT",
                           "f32", "ENABLE_CPU_PINNING", "NO", "CPU_DENORMALS_OPTIMIZATION", "YES", "CACHE_DIR",
                           engine_folder_.c_str()) != 0) {
      return failed();
    }
    compiled_ = Owned<Compiled>(compiled, {api_.compiled_free});
    Request* request = nullptr;
    if (api_.create_request(compiled, &request) != 0) return failed();
    request_ = Owned<Request>(request, {api_.request_free});
    return {};
  }

  const Api& api_;
  const Core& core_;
  Owned<Model> model_;
  std::string threads_;
  std::filesystem::path engine_folder_;
  std::vector<TensorInfo> inputs_, outputs_;
  std::vector<Bound> bound_;  // by input
  Owned<Compiled> compiled_;
  Owned<Request> request_;
};

class OpenVinoBackend final : public InferenceBackend {
 public:
  OpenVinoBackend(const Api& api, std::string version, Owned<Core> core)
      : api_(api), version_(std::move(version)), core_(std::move(core)) {}

  std::string version() const override { return version_; }
  std::vector<std::string> providers() const override { return {"cpu"}; }

  std::expected<std::unique_ptr<InferenceSession>, Error> load(const std::filesystem::path& model,
                                                               const SessionSettings& settings) override {
    return create(settings, [&](Model** made) { return api_.read_model(core_.get(), model.c_str(), nullptr, made); });
  }
  std::expected<std::unique_ptr<InferenceSession>, Error> load(std::span<const std::byte> model,
                                                               const SessionSettings& settings) override {
    return create(settings, [&](Model** made) {
      return api_.read_model_from_memory(core_.get(), reinterpret_cast<const char*>(model.data()), model.size(),
                                         nullptr, made);
    });
  }

 private:
  std::expected<std::unique_ptr<InferenceSession>, Error> create(const SessionSettings& settings, auto&& read) {
    if (settings.provider != "cpu") {
      return std::unexpected(
          Error{std::format("OpenVINO is run on the processor here: provider 'cpu', not '{}'", settings.provider)});
    }
    Model* model = nullptr;
    if (read(&model) != 0) return std::unexpected(Error{failure(api_)});
    auto session = std::make_unique<OpenVinoSession>(api_, *core_, Owned<Model>(model, {api_.model_free}), settings);
    if (auto described = session->describe(); !described) return std::unexpected(described.error());
    return session;
  }

  const Api api_;
  std::string version_;
  Owned<Core> core_;
};

}  // namespace

std::expected<std::unique_ptr<InferenceBackend>, Error> open_openvino(const std::filesystem::path& library) {
  const auto loaded = SharedLibrary::open(*find_runtime("openvino"), library);
  if (!loaded) return std::unexpected(loaded.error());
  Api api{};
  if (auto found = find_all(*loaded, api); !found) return std::unexpected(found.error());
  Version build{};
  std::string version = "unknown";
  if (api.get_version(&build) == 0) {
    version = build.build;
    version.erase(std::min(version.find('-'), version.size()));
    api.version_free(&build);
  }
  Core* core = nullptr;
  if (api.core_create(&core) != 0) {
    return std::unexpected(Error{std::format("OpenVINO does not start: {}", failure(api))});
  }
  return std::make_unique<OpenVinoBackend>(api, std::move(version), Owned<Core>(core, {api.core_free}));
}

}  // namespace finch::agent
