// Runs ONNX models in ONNX Runtime on one thread, for tests and benchmarks of the writers. A program of its own: the
// writers link libonnx, whose operator schemas clash with those that ONNX Runtime carries.
#include <dlfcn.h>
#include <onnxruntime/onnxruntime_c_api.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr const char* kUsage =
    R"(usage: run_onnx run MODEL INPUT.bin OUTPUT.bin SHAPE [MODEL INPUT.bin OUTPUT.bin SHAPE]...
       run_onnx optimize MODEL OPTIMIZED
       run_onnx time ROUNDS SHAPE MODEL...
SHAPE is as 1x3x224x224; the files hold raw float32. `time` runs the models in turn and prints each one's median in microseconds.
)";

using Shape = std::vector<std::int64_t>;

const OrtApi& api() {
  static const OrtApi& loaded = []() -> const OrtApi& {
    void* library = nullptr;
    for (const char* name : {"libonnxruntime.so", "libonnxruntime.so.1", "libonnxruntime.so.1.21"}) {
      if (library == nullptr) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
    if (library == nullptr) throw std::runtime_error("cannot load libonnxruntime.so: install libonnxruntime-dev");
    const auto base = reinterpret_cast<const OrtApiBase* (*)()>(dlsym(library, "OrtGetApiBase"));
    return *base()->GetApi(16);
  }();
  return loaded;
}

void check(OrtStatus* status) {
  if (status != nullptr) throw std::runtime_error(api().GetErrorMessage(status));
}

std::int64_t elements(const Shape& shape) {
  std::int64_t count = 1;
  for (const std::int64_t size : shape) count *= size;
  return count;
}

Shape parse_shape(const std::string& text) {
  Shape shape;
  std::istringstream stream(text);
  for (std::string size; std::getline(stream, size, 'x');) shape.push_back(std::stoll(size));
  return shape;
}

// Lives until the process ends.
class Model {
 public:
  explicit Model(const std::string& path, const char* optimized = nullptr) {
    static OrtEnv* environment = [] {
      OrtEnv* made = nullptr;
      check(api().CreateEnv(ORT_LOGGING_LEVEL_ERROR, "run_onnx", &made));
      return made;
    }();
    OrtSessionOptions* options = nullptr;
    check(api().CreateSessionOptions(&options));
    check(api().SetIntraOpNumThreads(options, 1));
    check(api().SetSessionGraphOptimizationLevel(options, ORT_ENABLE_ALL));
    check(api().AddSessionConfigEntry(options, "session.set_denormal_as_zero", "1"));
    if (optimized != nullptr) check(api().SetOptimizedModelFilePath(options, optimized));
    check(api().CreateSession(environment, path.c_str(), options, &session_));
    check(api().CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory_));
  }

  std::vector<float> run(std::vector<float>& image, const Shape& shape) const {
    OrtValue* input = nullptr;
    check(api().CreateTensorWithDataAsOrtValue(memory_, image.data(), image.size() * sizeof(float), shape.data(),
                                               shape.size(), ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &input));
    const char* input_names[] = {"image"};
    const char* output_names[] = {"logits"};
    OrtValue* output = nullptr;
    check(api().Run(session_, nullptr, input_names, &input, 1, output_names, 1, &output));
    OrtTensorTypeAndShapeInfo* information = nullptr;
    check(api().GetTensorTypeAndShape(output, &information));
    std::size_t count = 0;
    check(api().GetTensorShapeElementCount(information, &count));
    void* data = nullptr;
    check(api().GetTensorMutableData(output, &data));
    const auto* values = static_cast<const float*>(data);
    std::vector<float> result(values, values + count);
    api().ReleaseTensorTypeAndShapeInfo(information);
    api().ReleaseValue(output);
    api().ReleaseValue(input);
    return result;
  }

 private:
  OrtSession* session_ = nullptr;
  OrtMemoryInfo* memory_ = nullptr;
};

void run(const std::string& model, const std::string& input, const std::string& output, const Shape& shape) {
  std::ifstream file(input, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  std::vector<float> image(static_cast<std::size_t>(elements(shape)));
  if (bytes.size() != image.size() * sizeof(float)) throw std::runtime_error(input + " does not fit its shape");
  std::copy_n(bytes.data(), bytes.size(), reinterpret_cast<char*>(image.data()));
  const std::vector<float> logits = Model(model).run(image, shape);
  std::ofstream(output, std::ios::binary)
      .write(reinterpret_cast<const char*>(logits.data()), static_cast<std::streamsize>(logits.size() * sizeof(float)));
}

void time_models(int rounds, const Shape& shape, const std::vector<std::string>& paths) {
  std::vector<Model> models(paths.begin(), paths.end());
  std::vector<float> image(static_cast<std::size_t>(elements(shape)));
  for (std::size_t i = 0; i < image.size(); ++i) image[i] = static_cast<float>(i % 251) / 250;
  std::vector<std::vector<double>> microseconds(models.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t m = 0; m < models.size(); ++m) {
      for (int i = 0; i < 3; ++i) models[m].run(image, shape);  // caches and predictors are another model's
      const auto begin = std::chrono::steady_clock::now();
      for (int i = 0; i < 5; ++i) models[m].run(image, shape);
      const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - begin;
      microseconds[m].push_back(elapsed.count() / 5);
    }
  }
  for (std::vector<double>& all : microseconds) {
    std::ranges::nth_element(all, all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2));
    std::cout << all[all.size() / 2] << '\n';
  }
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const std::string mode = arguments.empty() ? "" : arguments[0];
  if (mode == "run" && arguments.size() > 1 && arguments.size() % 4 == 1) {
    for (std::size_t i = 1; i < arguments.size(); i += 4) {
      run(arguments[i], arguments[i + 1], arguments[i + 2], parse_shape(arguments[i + 3]));
    }
  } else if (mode == "optimize" && arguments.size() == 3) {
    Model(arguments[1], arguments[2].c_str());
  } else if (mode == "time" && arguments.size() > 3) {
    time_models(std::stoi(arguments[1]), parse_shape(arguments[2]), {arguments.begin() + 3, arguments.end()});
  } else {
    std::cerr << kUsage;
    return 2;
  }
  std::cout.flush();
  std::_Exit(0);  // ONNX Runtime's own teardown is of no interest
} catch (const std::exception& error) {
  std::cerr << "run_onnx: " << error.what() << '\n';
  return 1;
}
