// Does a supernet order networks as training each of them does? Kendall's tau between both accuracies over random
// networks of the mobilenet space on Fashion-MNIST, and what a candidate costs either way. Goes on where it stopped:
// every result lies in FOLDER.
//   build/release/bin/rank_correlation FOLDER --supernet-epochs 6
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <format>
#include <fstream>
#include <iostream>
#include <numeric>

#include "search/search_space.hpp"
#include "trainer/active_clock.hpp"
#include "trainer/compute_device.hpp"
#include "trainer/dataset.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/soft_targets.hpp"
#include "trainer/supernet_training.hpp"
#include "trainer/teacher.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {
namespace {

struct Settings {
  std::filesystem::path folder;
  std::string data = "/usr/share/datasets/fashion-mnist";
  std::string name = "supernet";
  double minutes = 0;
  int architectures = 24;
  int threads = 2;
  double macs = 2e6;
  double epochs = 2, supernet_epochs = 4, learning_rate = 0.02, supernet_learning_rate = 0.02;
  double in_place = 0.5;
  int subnets = 4;
  int adapt_steps = 0;
  double adapt_learning_rate = 0.01;
  std::int64_t recalibration = 2000;
  std::int64_t supernet_batch = 128;
  std::size_t first = 0;
  std::string device = "cpu";
  bool spread = false;
  double split_after = 1;
  std::string from;
  int seeds = 1;
  bool standalone_only = false, supernet_only = false;
};

struct Accuracies {
  double validation = 0, test = 0, seconds = 0;
  double all() const { return (5000 * validation + 10000 * test) / 15000; }  // images that no training saw
};

template <typename T>
T need(std::expected<T, Error> value) {
  if (!value) {
    std::cerr << value.error().message << '\n';
    std::exit(1);
  }
  if constexpr (!std::is_void_v<T>) return std::move(*value);
}

void write(const std::filesystem::path& path, const std::string& bytes) {
  std::filesystem::path temporary = path;
  temporary += ".new";
  std::ofstream(temporary, std::ios::binary) << bytes;
  std::filesystem::rename(temporary, path);
}

// Kendall 1938, tau-b: pairs that both order alike less those that they do not, ties accounted for.
double kendall_tau(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0, x_pairs = 0, y_pairs = 0;
  const auto sign = [](double value) { return value > 0 ? 1.0 : value < 0 ? -1.0 : 0.0; };
  for (std::size_t i = 0; i < x.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      sum += sign(x[i] - x[j]) * sign(y[i] - y[j]);
      x_pairs += x[i] != x[j];
      y_pairs += y[i] != y[j];
    }
  }
  return sum / std::sqrt(x_pairs * y_pairs);
}

class Study {
 public:
  explicit Study(const Settings& settings)
      : settings_(settings),
        device_(need(choose_device(settings.device))),
        data_(need(load_dataset({.format = "idx", .path = settings.data, .validation_samples = 5000}))),
        space_(*search::make_search_space({.image = {1, 28, 28}, .classes = 10})) {
    at::set_num_threads(settings.threads);
    at::globalContext().setFlushDenormal(true);
    std::filesystem::create_directories(settings.folder);
    std::mt19937_64 generator(11);
    while (std::ssize(genotypes_) < settings.architectures) {
      const search::Genotype genotype = space_->random(generator);
      if (cost(genotype).macs <= static_cast<std::int64_t>(settings.macs)) genotypes_.push_back(genotype);
    }
  }

  void run() {
    soft_targets_ = soft_targets();
    if (!settings_.supernet_only)
      for (int seed = 1; seed <= settings_.seeds; ++seed) {
        standalone_.emplace_back(genotypes_.size());
        for (std::size_t i = 0; i < genotypes_.size(); ++i) standalone((i + settings_.first) % genotypes_.size(), seed);
      }
    if (settings_.standalone_only) return;
    const Supernet supernet = train_supernet();
    if (!settings_.supernet_only) compare(supernet);
  }

 private:
  search::Cost cost(const search::Genotype& genotype) const { return search::cost_of(*space_->decode(genotype)); }

  void stop_if_late() const {
    if (settings_.minutes > 0 && clock_.seconds() > 60 * settings_.minutes) {
      std::cerr << "the minutes are over; the same command goes on\n";
      std::exit(3);
    }
  }

  // The quickstart's recipe.
  TrainingOptions options(double epochs, double learning_rate, std::int64_t batch = 128) const {
    return {.epochs = epochs,
            .batch_size = batch,
            .learning_rate = learning_rate,
            .weight_decay = 0.005,
            .loss = {.label_smoothing = 0.05, .temperature = 2, .distillation_weight = 0.5},
            .augmentation = {},
            .device = device_};
  }

  torch::Tensor soft_targets() const {
    const auto path = settings_.folder / "soft_targets";
    if (!std::filesystem::exists(path)) {
      torch::manual_seed(1);
      NetworkModule teacher(need(teacher_network({1, 28, 28}, 10)), data_.mean, data_.stddev);
      Training training(teacher, data_.train, {}, options(1.5, 0.006));
      need(trainer::run(training, [](double) {}));
      teacher.eval();
      const Classifier classifier = [&](const torch::Tensor& images) { return teacher.forward(images); };
      std::cerr << std::format("teacher: {:.2f} %\n", 100 * top1(classifier, data_.validation));
      write(path, serialize_soft_targets(compute_soft_targets(classifier, data_.train, false, [](double) {}), data_));
    }
    return need(load_soft_targets(path, data_, false));
  }

  Accuracies evaluate(NetworkModule& module) const {
    module.eval();
    const Classifier classifier = [&](const torch::Tensor& images) { return module.forward(images); };
    return {.validation = top1(classifier, data_.validation), .test = top1(classifier, data_.test)};
  }

  void standalone(std::size_t i, int seed) {
    const auto path = settings_.folder / std::format("standalone-{}-{}{}", settings_.epochs, i,
                                                     seed == 1 ? "" : std::format("-seed{}", seed));
    Accuracies& result = standalone_.back()[i];
    if (std::ifstream(path) >> result.validation >> result.test >> result.seconds) return;
    stop_if_late();
    torch::manual_seed(static_cast<std::uint64_t>(seed));
    NetworkModule module(*space_->decode(genotypes_[i]), data_.mean, data_.stddev);
    TrainingOptions recipe = options(settings_.epochs, settings_.learning_rate);
    recipe.seed = static_cast<std::uint64_t>(seed);
    Training training(module, data_.train, soft_targets_, recipe);
    const TrainingTiming timing = need(trainer::run(training, [](double) {}));
    result = evaluate(module);
    result.seconds = timing.seconds;
    write(path, std::format("{} {} {}\n", result.validation, result.test, result.seconds));
    std::cerr << std::format("standalone {}: {:.2f} %, {} MACs, {:.0f} s\n", i, 100 * result.validation,
                             cost(genotypes_[i]).macs, result.seconds);
  }

  Supernet train_supernet() {
    const auto path = settings_.folder / settings_.name;
    if (std::filesystem::exists(path)) {
      Supernet trained = need(Supernet::load(path));
      trained.move_to(device_);
      return trained;
    }
    std::filesystem::path checkpoint = path;
    checkpoint += ".checkpoint";
    torch::manual_seed(1);
    Supernet supernet(*space_, data_.mean, data_.stddev);
    if (!settings_.from.empty()) supernet = need(Supernet::load(settings_.from));
    SupernetTraining training(
        supernet, *space_, data_.train, soft_targets_,
        {.training = options(settings_.supernet_epochs, settings_.supernet_learning_rate, settings_.supernet_batch),
         .limits = {.macs = settings_.macs},
         .sampling = settings_.spread ? SubnetSampling::spread : SubnetSampling::sandwich,
         .subnets = settings_.subnets,
         .split_after = settings_.split_after,
         .in_place_weight = settings_.in_place});
    if (std::filesystem::exists(checkpoint)) need(training.restore(checkpoint));
    while (training.step() < training.total_steps()) {
      need(training.make_step());
      if (training.step() % 50 != 0 && training.step() < training.total_steps()) continue;
      write(checkpoint, training.checkpoint());
      write(path.string() + ".seconds", std::format("{}\n", training.seconds()));
      std::cerr << std::format("{}: step {} of {}, {:.0f} s\n", settings_.name, training.step(), training.total_steps(),
                               training.seconds());
      stop_if_late();
    }
    write(path, supernet.serialize());
    return supernet;
  }

  // Mean of the seeds.
  Accuracies trained_alone(std::size_t i) const {
    Accuracies mean;
    for (const auto& trainings : standalone_) {
      mean.validation += trainings[i].validation / static_cast<double>(standalone_.size());
      mean.test += trainings[i].test / static_cast<double>(standalone_.size());
      mean.seconds += trainings[i].seconds / static_cast<double>(standalone_.size());
    }
    return mean;
  }

  static double tau_of(const std::vector<Accuracies>& x, const std::vector<Accuracies>& y,
                       double (*value)(const Accuracies&)) {
    std::vector<double> xs, ys;
    std::ranges::transform(x, std::back_inserter(xs), value);
    std::ranges::transform(y, std::back_inserter(ys), value);
    return kendall_tau(xs, ys);
  }

  static std::string taus(const std::vector<Accuracies>& x, const std::vector<Accuracies>& y) {
    return std::format(
        "{:.3f} (validation images {:.3f}, test images {:.3f})", tau_of(x, y, [](auto& a) { return a.all(); }),
        tau_of(x, y, [](auto& a) { return a.validation; }), tau_of(x, y, [](auto& a) { return a.test; }));
  }

  void compare(const Supernet& supernet) {
    std::vector<Accuracies> trained, shared, macs;
    double seconds = 0, shared_seconds = 0;
    for (std::size_t i = 0; i < genotypes_.size(); ++i) {
      const ActiveClock clock;
      const auto subnet = need(supernet.subnet(*space_->decode(genotypes_[i])));
      if (settings_.adapt_steps > 0) {
        TrainingOptions some = options(1, settings_.adapt_learning_rate);
        some.epochs =
            static_cast<double>(settings_.adapt_steps * some.batch_size) / static_cast<double>(data_.train.size());
        Training training(*subnet.module, data_.train, soft_targets_, some);
        need(trainer::run(training, [](double) {}));
      }
      recalibrate(*subnet.module, data_.train, settings_.recalibration);
      const Classifier classifier = [&](const torch::Tensor& images) { return subnet.module->forward(images); };
      Accuracies found{.validation = top1(classifier, data_.validation)};
      shared_seconds += clock.seconds();
      found.test = top1(classifier, data_.test);
      shared.push_back(found);
      trained.push_back(trained_alone(i));
      seconds += trained.back().seconds;
      const auto size = static_cast<double>(cost(genotypes_[i]).macs);
      macs.push_back({.validation = size, .test = size});
      std::cout << std::format(
          "{:2} {} {:9.0f} MACs: {:.2f} % ({:.2f} %) trained alone, {:.2f} % ({:.2f} %) in the supernet\n", i,
          search::to_string(genotypes_[i]), size, 100 * trained[i].validation, 100 * trained[i].test,
          100 * shared[i].validation, 100 * shared[i].test);
    }
    double spent = 0;
    std::ifstream((settings_.folder / settings_.name).string() + ".seconds") >> spent;
    const double count = static_cast<double>(genotypes_.size());
    std::cout << std::format("Kendall's tau over {} networks, trained alone {} times: {}\n  MACs alone: {}\n",
                             genotypes_.size(), standalone_.size(), taus(trained, shared), taus(trained, macs));
    for (std::size_t seed = 1; seed < standalone_.size(); ++seed)
      std::cout << std::format("  one training alone and another: {}\n", taus(standalone_[0], standalone_[seed]));
    std::cout << std::format(
        "a candidate costs {:.2f} s in the supernet, {:.1f} s trained alone: {:.0f} x; the supernet took {:.0f} s\n",
        shared_seconds / count, seconds / count, seconds / shared_seconds, spent);
  }

  Settings settings_;
  torch::Device device_;
  Dataset data_;
  std::unique_ptr<search::SearchSpace> space_;
  std::vector<search::Genotype> genotypes_;
  torch::Tensor soft_targets_;
  std::vector<std::vector<Accuracies>> standalone_;  // by seed and network
  ActiveClock clock_;
};

}  // namespace
}  // namespace finch::trainer

int main(int count, char** arguments) {
  finch::trainer::Settings settings;
  CLI::App app("Kendall's tau between the accuracies of a supernet and of training alone.");
  app.add_option("folder", settings.folder, "where results and checkpoints lie")->required();
  app.add_option("--data", settings.data, "folder of Fashion-MNIST");
  app.add_option("--name", settings.name, "of the supernet in the folder, one for each of several recipes");
  app.add_option("--minutes", settings.minutes, "stop after so many, to go on later; 0: to the end");
  app.add_option("--architectures", settings.architectures);
  app.add_option("--threads", settings.threads);
  app.add_option("--macs", settings.macs, "limit of the networks");
  app.add_option("--epochs", settings.epochs, "of a network trained alone");
  app.add_option("--learning-rate", settings.learning_rate, "of a network trained alone");
  app.add_option("--supernet-epochs", settings.supernet_epochs);
  app.add_option("--supernet-learning-rate", settings.supernet_learning_rate);
  app.add_option("--in-place", settings.in_place, "weight of the large network's answers, 0 to 1");
  app.add_option("--subnets", settings.subnets, "networks a step");
  app.add_option("--recalibration", settings.recalibration, "images for BatchNorm's statistics");
  app.add_option("--adapt-steps", settings.adapt_steps, "of training, of each network before it is evaluated");
  app.add_option("--adapt-learning-rate", settings.adapt_learning_rate);
  app.add_option("--supernet-batch", settings.supernet_batch);
  app.add_option("--first", settings.first, "of the networks trained alone, where several programs share them");
  app.add_option("--device", settings.device, "that trains");
  app.add_flag("--spread", settings.spread, "networks evenly over the range of MACs in place of the sandwich");
  app.add_option("--split-after", settings.split_after,
                 "kernels and BatchNorm for each resolution from this part of the steps on, 0 to 1");
  app.add_option("--from", settings.from, "a trained supernet to begin with");
  app.add_option("--seeds", settings.seeds, "trainings of each network alone; their mean is compared");
  app.add_flag("--standalone-only", settings.standalone_only, "train the networks, and no supernet");
  app.add_flag("--supernet-only", settings.supernet_only, "train the supernet, and compare nothing yet");
  CLI11_PARSE(app, count, arguments);
  finch::trainer::Study(settings).run();
}
