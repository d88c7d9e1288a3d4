// Trains random networks of a space on Fashion-MNIST and quantizes each: top-1 on the validation split by calibration,
// by training with fake quantization, and with the most sensitive layer in fp32.
//   build/release/bin/calibrations [--space mobilenet] [--networks 3] [--epochs 1] [--threads 1]
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <format>
#include <iostream>
#include <random>

#include "search/cost_model.hpp"
#include "search/search_space.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/fake_quantization.hpp"
#include "trainer/quantize.hpp"

namespace finch::trainer {
namespace {

template <typename T>
T need(std::expected<T, Error> result) {
  if (!result) throw std::runtime_error(result.error().message);
  return std::move(*result);
}

void compare(NetworkModule& module, const Dataset& dataset, TrainingOptions recipe) {
  for (const Calibration calibration :
       {Calibration::minmax, Calibration::percentile, Calibration::entropy, Calibration::mse}) {
    for (const std::int64_t images : {64, 512}) {
      const auto quantized = need(quantize(
          module, dataset, {},
          {.calibration = {.method = calibration, .images = images}, .qat = std::nullopt, .mixed_precision = false},
          [](double) {}));
      std::cout << std::format("  {:10} of {:3} images: {:.2f} % (fp32 {:.2f} %)", to_string(calibration), images,
                               100 * quantized.report.ptq_top1, 100 * quantized.report.fp32_top1)
                << std::endl;
    }
  }
  recipe.epochs = 0.5;
  recipe.learning_rate *= 0.1;
  const auto trained =
      need(quantize(module, dataset, {}, {.allowed_drop = -1, .qat = recipe, .mixed_precision = false}, [](double) {}));
  std::cout << std::format("  mse and {} epochs of QAT: {:.2f} %", recipe.epochs, 100 * trained.report.qat_top1.value())
            << std::endl;
}

void run_all(const std::string& space_name, int networks, double epochs) {
  const Dataset dataset = need(load_dataset(
      {.format = "idx", .path = "/usr/share/datasets/fashion-mnist", .validation_samples = 5000, .seed = 1}));
  const auto space = *search::make_search_space({.name = space_name, .image = {1, 28, 28}, .classes = 10});
  std::mt19937_64 generator(1);
  for (int i = 0; i < networks;) {
    const auto network = space->decode(space->random(generator));
    if (!network || search::cost_of(*network).macs > 3'000'000) continue;
    torch::manual_seed(1);
    NetworkModule module(*network, dataset.mean, dataset.stddev);
    const TrainingOptions recipe{
        .epochs = epochs, .learning_rate = 4e-3, .weight_decay = 1e-4, .loss = {}, .augmentation = {}};
    Training training(module, dataset.train, {}, recipe);
    need(run(training, [](double) {}));
    std::cout << std::format("network {} of {:.2f} MMACs", ++i,
                             1e-6 * static_cast<double>(search::cost_of(*network).macs))
              << std::endl;
    compare(module, dataset, recipe);
  }
}

}  // namespace
}  // namespace finch::trainer

int main(int count, char** arguments) {
  CLI::App app{"Compares calibrations on trained networks."};
  std::string space = "mobilenet";
  int networks = 3, threads = 1;
  double epochs = 1;
  app.add_option("--space", space)->capture_default_str();
  app.add_option("--networks", networks)->capture_default_str();
  app.add_option("--epochs", epochs)->capture_default_str();
  app.add_option("--threads", threads)->capture_default_str();
  CLI11_PARSE(app, count, arguments);
  try {
    at::set_num_threads(threads);
    finch::trainer::run_all(space, networks, epochs);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
