// How the agent runs a model: a backend loads files into sessions, a session runs inferences. One thread at a time for
// each object; a session must not outlive its backend. Fake: agent/scripted_backend.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/error.hpp"

namespace finch::agent {

enum class ElementType { kFloat32, kFloat16, kFloat64, kInt8, kUint8, kInt32, kInt64, kBool };

std::size_t size_of(ElementType type);
// `count` elements at `data`.
std::vector<float> to_floats(ElementType type, const void* data, std::size_t count);

struct TensorInfo {
  std::string name;
  ElementType type = ElementType::kFloat32;
  std::vector<std::int64_t> shape;  // -1: free
};

struct FloatTensor {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

// What of a model one provider of the runtime has taken.
struct NodePlacement {
  std::string provider;
  std::int64_t nodes = 0;
  std::vector<std::string> operators;  // each kind once; may be empty where all nodes went to this provider
};

struct SessionSettings {
  std::string provider = "cpu";
  int threads = 1;
  std::filesystem::path profile;  // a file name's beginning: the runtime writes its profile there; empty: none
  // Where the runtime keeps what it compiles of the model and looks for it; empty: nowhere. Written if it may.
  std::filesystem::path engine_folder{};
  std::filesystem::path timing_folder{};  // of what it learns of kernels' times while it compiles; empty: nowhere
};

class InferenceSession {
 public:
  virtual ~InferenceSession() = default;
  virtual const std::vector<TensorInfo>& inputs() const = 0;
  virtual const std::vector<TensorInfo>& outputs() const = 0;
  // Gives input `index` its values for all following runs. `bytes` is borrowed until the next bind.
  // REQUIRES: index < inputs().size(), bytes.size() fits shape and type.
  virtual std::expected<void, Error> bind(std::size_t index, const std::vector<std::int64_t>& shape,
                                          std::span<std::byte> bytes) = 0;
  // One inference; blocks until the outputs are there. REQUIRES: all inputs bound.
  virtual std::expected<void, Error> run() = 0;
  // By provider; empty where the runtime has only one way to run a model.
  virtual std::vector<NodePlacement> placements() const { return {}; }
  // A copy of an output of the last run, converted to float.
  virtual std::expected<FloatTensor, Error> output(std::size_t index) const = 0;
};

class InferenceBackend {
 public:
  virtual ~InferenceBackend() = default;
  virtual std::string version() const = 0;
  // Of the models that load() takes: "onnx", "tflite".
  virtual std::string_view format() const { return "onnx"; }
  // Those that load() takes: "cpu".
  virtual std::vector<std::string> providers() const = 0;
  // What compiles models for a GPU, and its version; empty: nothing beside the runtime.
  virtual std::string engine_builder() const { return {}; }
  // Errors: no such file, not a model (truncated, damaged), an operator or a provider that the runtime lacks.
  virtual std::expected<std::unique_ptr<InferenceSession>, Error> load(const std::filesystem::path& model,
                                                                       const SessionSettings& settings) = 0;
  virtual std::expected<std::unique_ptr<InferenceSession>, Error> load(std::span<const std::byte> model,
                                                                       const SessionSettings& settings) = 0;
};

// The whole shapes of inputs with free dimensions, by name.
using InputShapes = std::map<std::string, std::vector<std::int64_t>>;

// The shape of an input: the one given for it in `shapes`, else with `batch` put in for a free first dimension. Errors:
// another free dimension, a model made for another batch, a given shape that contradicts the model.
std::expected<std::vector<std::int64_t>, Error> deployed_shape(const TensorInfo& input, int batch,
                                                               const InputShapes& shapes = {});

// Binds every input to the same values in every process: floats uniform in [0, 1), integers 0. The storage must live
// as long as the session runs on it. Shapes for inputs that the model does not have are left aside.
std::expected<std::vector<std::vector<std::byte>>, Error> bind_fixed_inputs(InferenceSession& session, int batch,
                                                                            const InputShapes& shapes = {});

}  // namespace finch::agent
