// Trains random networks of a space on Fashion-MNIST and quantizes each: top-1 on the validation split by calibration
// and, where that loses more than half a point, after training with fake quantization.
//   build/release/bin/calibrations [--space mobilenet] [--networks 3] [--macs 3] [--epochs 1] [--qat-epochs 0.5]
//     [--skew 30] [--threads 1]
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <format>
#include <iostream>
#include <random>

#include "search/cost_model.hpp"
#include "search/search_space.hpp"
#include "tests/trainer/skewed_channels.hpp"
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

struct Settings {
  std::string space = "mobilenet";
  int networks = 3;
  double million_macs = 3;  // at most
  double epochs = 1, qat_epochs = 0.5;
  float skew = 1;
  int threads = 1;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

void compare(NetworkModule& module, const Dataset& dataset, TrainingOptions recipe, double qat_epochs) {
  recipe.epochs = qat_epochs;
  recipe.learning_rate *= 0.1;
  for (const Calibration calibration :
       {Calibration::minmax, Calibration::percentile, Calibration::entropy, Calibration::mse}) {
    for (const std::int64_t images : {64, 512}) {
      QuantizeOptions options{
          .calibration = {.method = calibration, .images = images}, .qat = std::nullopt, .mixed_precision = false};
      const auto quantized = need(quantize(module, dataset, {}, options, [](double) {}));
      const double drop = quantized.report.fp32_top1 - quantized.report.ptq_top1;
      std::cout << std::format("  {:10} of {:3} images: {:.2f} % (fp32 {:.2f} %)", to_string(calibration), images,
                               100 * quantized.report.ptq_top1, 100 * quantized.report.fp32_top1);
      if (drop > options.allowed_drop || (calibration == Calibration::mse && images == 512)) {
        options.qat = recipe;
        options.allowed_drop = -1;  // whatever calibration loses
        const auto start = std::chrono::steady_clock::now();
        const auto trained = need(quantize(module, dataset, {}, options, [](double) {}));
        std::cout << std::format(", with {} epochs of QAT {:.2f} % ({:.0f} s)", qat_epochs,
                                 100 * trained.report.qat_top1.value(), seconds_since(start));
      }
      std::cout << std::endl;
    }
  }
}

void run_all(const Settings& settings) {
  const Dataset dataset = need(load_dataset(
      {.format = "idx", .path = "/usr/share/datasets/fashion-mnist", .validation_samples = 5000, .seed = 1}));
  const auto space = *search::make_search_space({.name = settings.space, .image = {1, 28, 28}, .classes = 10});
  std::mt19937_64 generator(1);
  for (int i = 0; i < settings.networks;) {
    const auto network = space->decode(space->random(generator));
    if (!network || static_cast<double>(search::cost_of(*network).macs) > 1e6 * settings.million_macs) continue;
    torch::manual_seed(1);
    NetworkModule module(*network, dataset.mean, dataset.stddev);
    const TrainingOptions recipe{
        .epochs = settings.epochs, .learning_rate = 4e-3, .weight_decay = 1e-4, .loss = {}, .augmentation = {}};
    Training training(module, dataset.train, {}, recipe);
    const auto start = std::chrono::steady_clock::now();
    need(run(training, [](double) {}));
    std::cout << std::format("network {} of {:.2f} MMACs, trained for {} epochs ({:.0f} s)", ++i,
                             1e-6 * static_cast<double>(search::cost_of(*network).macs), settings.epochs,
                             seconds_since(start))
              << std::endl;
    module.eval();
    if (settings.skew > 1) {
      std::cout << std::format("  a channel {} times as large before {} depthwise convolutions", settings.skew,
                               skew_channels(module, settings.skew))
                << std::endl;
    }
    compare(module, dataset, recipe, settings.qat_epochs);
  }
}

}  // namespace
}  // namespace finch::trainer

int main(int count, char** arguments) {
  CLI::App app{"Compares calibrations on trained networks."};
  finch::trainer::Settings settings;
  app.add_option("--space", settings.space)->capture_default_str();
  app.add_option("--networks", settings.networks)->capture_default_str();
  app.add_option("--macs", settings.million_macs, "of the networks, in millions, at most")->capture_default_str();
  app.add_option("--epochs", settings.epochs)->capture_default_str();
  app.add_option("--qat-epochs", settings.qat_epochs)->capture_default_str();
  app.add_option("--skew", settings.skew, "a channel so many times as large before each depthwise convolution")
      ->capture_default_str();
  app.add_option("--threads", settings.threads)->capture_default_str();
  CLI11_PARSE(app, count, arguments);
  try {
    at::set_num_threads(settings.threads);
    finch::trainer::run_all(settings);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
