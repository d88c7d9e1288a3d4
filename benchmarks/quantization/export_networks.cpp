// Writes random networks of the mobilenet space as fp32 and int8 files, spread over the MACs that the space holds at
// three image sizes: NAME.fp32.onnx and NAME.int8.onnx, or .tflite, and on stdout a line "NAME MACS" each.
//   build/release/bin/export_networks FOLDER [onnx|tflite]
#include <torch/torch.h>

#include <cmath>
#include <format>
#include <fstream>
#include <iostream>
#include <map>
#include <random>

#include "search/cost_model.hpp"
#include "search/search_space.hpp"
#include "trainer/export.hpp"

namespace finch::trainer {
namespace {

constexpr int kDraws = 400;
constexpr std::int64_t kCalibrationImages = 64;

ImageSplit noise(const search::TensorShape& shape) {
  ImageSplit split{
      .channels = shape.channels, .height = shape.height, .width = shape.width, .pixels = {}, .labels = {}};
  std::mt19937 generator(7);
  split.pixels.resize(static_cast<std::size_t>(kCalibrationImages * shape.elements()));
  for (std::uint8_t& pixel : split.pixels) pixel = static_cast<std::uint8_t>(generator());
  split.labels.assign(kCalibrationImages, 0);
  return split;
}

// One network a doubling of MACs: the first that is drawn.
std::map<int, search::Network> networks_by_macs(const search::SearchSpace& space) {
  std::map<int, search::Network> networks;
  std::mt19937_64 generator(1);
  for (int i = 0; i < kDraws; ++i) {
    auto network = *space.decode(space.random(generator));
    const auto doubling = static_cast<int>(std::log2(static_cast<double>(search::cost_of(network).macs)));
    networks.try_emplace(doubling, std::move(network));
  }
  return networks;
}

void write_networks(const std::filesystem::path& folder, const search::TensorShape& image, std::string_view format) {
  const auto space = *search::make_search_space({.image = image, .classes = 10});
  const ImageSplit calibration_set = noise(image);
  for (auto& [doubling, network] : networks_by_macs(*space)) {
    const std::int64_t macs = search::cost_of(network).macs;
    const auto channels = static_cast<std::size_t>(image.channels);
    torch::manual_seed(1);
    NetworkModule module(network, std::vector<float>(channels, 0.5F), std::vector<float>(channels, 0.25F));
    const std::string precisions[] = {"fp32", "int8"};
    const auto exported = export_models(
        module, calibration_set, {}, {.space = "mobilenet", .genotype = {}, .campaign = {}, .class_names = {}},
        precisions, [](double) {}, format);
    if (!exported) throw std::runtime_error(exported.error().message);
    const std::string name = std::format("{}px-{}", image.height, doubling);
    for (const ExportedModel& model : exported->models) {
      std::ofstream file(folder / std::format("{}.{}.{}", name, model.precision, format), std::ios::binary);
      if (!(file << model.bytes)) throw std::runtime_error("cannot write into " + folder.string());
    }
    std::cout << name << ' ' << macs << std::endl;
  }
}

}  // namespace
}  // namespace finch::trainer

int main(int count, char** arguments) {
  if (count != 2 && count != 3) {
    std::cerr << "usage: export_networks FOLDER [onnx|tflite]\n";
    return 2;
  }
  try {
    for (const finch::search::TensorShape& image :
         {finch::search::TensorShape{1, 28, 28}, {3, 32, 32}, {3, 224, 224}}) {
      finch::trainer::write_networks(arguments[1], image, count == 3 ? arguments[2] : finch::trainer::kOnnx);
    }
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
