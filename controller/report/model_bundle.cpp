#include "controller/report/model_bundle.hpp"

#include <algorithm>
#include <cstring>
#include <format>
#include <nlohmann/json.hpp>

#include "controller/report/report.hpp"

namespace finch::controller {
namespace {

constexpr const char* kPython = R"(# python3 run.py image-1.f32 ...   needs: pip install onnxruntime numpy
import pathlib
import sys

import numpy
import onnxruntime

here = pathlib.Path(__file__).parent
labels = (here / "labels.txt").read_text(encoding="utf-8").splitlines()
session = onnxruntime.InferenceSession(str(here / "model.onnx"), providers=["CPUExecutionProvider"])
for name in sys.argv[1:]:
    image = numpy.fromfile(name, "<f4").reshape(1, CHANNELS, HEIGHT, WIDTH)  # in [0, 1]
    logits = session.run(["logits"], {"image": image})[0][0]
    print(labels[logits.argmax()], *(f"{x:.6f}" for x in logits), sep="\t")
)";

constexpr const char* kPythonTflite = R"(# python3 run.py image-1.f32 ...   needs: pip install ai-edge-litert numpy
import pathlib
import sys

import numpy
from ai_edge_litert.interpreter import Interpreter

here = pathlib.Path(__file__).parent
labels = (here / "labels.txt").read_text(encoding="utf-8").splitlines()
run = Interpreter(model_path=str(here / "model.tflite")).get_signature_runner()
for name in sys.argv[1:]:
    image = numpy.fromfile(name, "<f4").reshape(1, CHANNELS, HEIGHT, WIDTH)  # in [0, 1]
    logits = run(image=image.transpose(0, 2, 3, 1))["logits"][0]
    print(labels[logits.argmax()], *(f"{x:.6f}" for x in logits), sep="\t")
)";

constexpr const char* kCpp =
    R"(// g++ -std=c++17 run.cpp -I/usr/include/onnxruntime -lonnxruntime -o run && ./run image-1.f32 ...
#include "onnxruntime_cxx_api.h"
#include <algorithm>
#include <fstream>
#include <iostream>

int main(int argc, char** argv) {
  Ort::Env environment(ORT_LOGGING_LEVEL_ERROR);
  Ort::Session session(environment, "model.onnx", Ort::SessionOptions());
  std::vector<std::string> labels;
  std::ifstream file("labels.txt");
  for (std::string line; std::getline(file, line);) labels.push_back(line);
  const int64_t shape[] = {1, CHANNELS, HEIGHT, WIDTH};  // in [0, 1]
  const char *input_name = "image", *output_name = "logits";
  for (int i = 1; i < argc; ++i) {
    std::vector<float> image(CHANNELS * HEIGHT * WIDTH);
    std::ifstream(argv[i], std::ios::binary).read(reinterpret_cast<char*>(image.data()), image.size() * sizeof(float));
    auto input = Ort::Value::CreateTensor<float>(Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault),
                                                 image.data(), image.size(), shape, 4);
    auto output = session.Run(Ort::RunOptions(), &input_name, &input, 1, &output_name, 1);
    const float* logits = output[0].GetTensorData<float>();
    std::cout << labels[std::max_element(logits, logits + labels.size()) - logits];
    for (std::size_t k = 0; k < labels.size(); ++k) std::cout << '\t' << logits[k];
    std::cout << '\n';
  }
}
)";

std::string with_shape(std::string program, const Bundle& bundle) {
  for (const auto& [mark, extent] :
       {std::pair{"CHANNELS", bundle.channels}, std::pair{"HEIGHT", bundle.height}, std::pair{"WIDTH", bundle.width}}) {
    for (std::size_t at = 0; (at = program.find(mark, at)) != std::string::npos;)
      program.replace(at, std::strlen(mark), std::to_string(extent));
  }
  return program;
}

std::string little_endian(const std::vector<float>& values) {
  static_assert(std::endian::native == std::endian::little);
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

}  // namespace

std::expected<void, Error> write_bundle(const Bundle& bundle, const std::filesystem::path& folder) {
  std::error_code error;
  if (std::filesystem::exists(folder, error) && !std::filesystem::is_empty(folder, error)) {
    return std::unexpected(
        Error{folder.string() + ": is there already and not empty; give another --output", ExitCode::usage});
  }
  std::filesystem::create_directories(folder, error);
  const auto copy = [&](const std::filesystem::path& from, const char* name) {
    if (!error) std::filesystem::copy_file(from, folder / name, error);
  };
  const bool tflite = is_tflite(*bundle.file);
  copy(bundle.path, tflite ? "model.tflite" : "model.onnx");
  if (bundle.safetensors) copy(*bundle.safetensors, "weights.safetensors");
  if (error) return std::unexpected(Error{std::format("{}: cannot write: {}", folder.string(), error.message())});

  const CampaignResult& result = *bundle.result;
  const auto name_of = [&](std::size_t label) {
    return label < result.class_names.size() ? result.class_names[label] : std::to_string(label);
  };
  std::string labels;
  for (const std::string& name : result.class_names) labels += name + "\n";
  nlohmann::ordered_json expected = nlohmann::ordered_json::array();
  std::vector<std::pair<std::string, std::string>> files = {
      {"labels.txt", labels},
      {"card.md", model_card(bundle)},
      {"run.py", with_shape(tflite ? kPythonTflite : kPython, bundle)}};
  if (!tflite) files.emplace_back("run.cpp", with_shape(kCpp, bundle));
  for (const BundleImage& image : bundle.images) {
    const std::string name = std::format("image-{}.f32", expected.size() + 1);
    const auto told = std::ranges::max_element(image.logits) - image.logits.begin();
    files.emplace_back(name, little_endian(image.pixels));
    expected.push_back({{"file", name},
                        {"label", name_of(static_cast<std::size_t>(image.label))},
                        {"told", name_of(static_cast<std::size_t>(told))},
                        {"logits", image.logits}});
  }
  files.emplace_back("expected.json", expected.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  for (const auto& [name, text] : files) {
    if (auto written = write_atomically(folder / name, text); !written) return written;
  }
  return {};
}

}  // namespace finch::controller
