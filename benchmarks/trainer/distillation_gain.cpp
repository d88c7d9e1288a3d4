// What a teacher is worth: the same student with and without one, over several seeds, with each kind of distillation;
// and what the training's other settings are worth on top. Prints a table; every line says its seconds too.
//   build/release/bin/distillation_gain [--data FOLDER] [--seeds 3] [--epochs 1] [--images 20000] [--size 0]
//     [VARIANT...]
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <format>
#include <iostream>
#include <map>

#include "search/cost_model.hpp"
#include "search/search_space.hpp"
#include "trainer/dataset.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/live_teacher.hpp"
#include "trainer/soft_targets.hpp"
#include "trainer/teacher.hpp"
#include "trainer/training.hpp"

namespace finch::trainer {
namespace {

struct Settings {
  std::string data = "/usr/share/datasets/fashion-mnist";
  int seeds = 3;
  double epochs = 1;
  double teacher_epochs = 4;
  double size = 0;               // of the student, each of its decisions: 0 the space's smallest, 1 its largest
  std::int64_t images = 20'000;  // of the training split; the teacher too sees no others
  std::vector<std::string> variants;
};

enum class TeacherUse { none, cached, batch };

struct Variant {
  std::string name;
  TeacherUse teacher = TeacherUse::cached;
  FeatureKind features = FeatureKind::none;
  double feature_weight = 1;
  Augmentation augmentation = {};
};

std::vector<Variant> variants() {
  const Augmentation strong{.randaugment_operations = 1, .randaugment_magnitude = 5};
  const Augmentation mixed{.mixup = 0.2};
  return {
      {.name = "none", .teacher = TeacherUse::none},
      {.name = "soft_targets"},
      {.name = "hint", .teacher = TeacherUse::batch, .features = FeatureKind::hint},
      {.name = "attention", .teacher = TeacherUse::batch, .features = FeatureKind::attention},
      {.name = "relational", .teacher = TeacherUse::batch, .features = FeatureKind::relational},
      {.name = "randaugment-none", .teacher = TeacherUse::none, .augmentation = strong},
      {.name = "randaugment-cached", .augmentation = strong},
      {.name = "randaugment-batch", .teacher = TeacherUse::batch, .augmentation = strong},
      {.name = "mixup-none", .teacher = TeacherUse::none, .augmentation = mixed},
      {.name = "mixup-cached", .augmentation = mixed},
      {.name = "mixup-batch", .teacher = TeacherUse::batch, .augmentation = mixed},
  };
}

template <typename T>
T need(std::expected<T, Error> value) {
  if (value) {
    if constexpr (std::is_void_v<T>)
      return;
    else
      return std::move(*value);
  }
  std::cerr << value.error().message << '\n';
  std::exit(2);
}

TrainingOptions options(const Settings& settings, const Variant& variant, std::uint64_t seed) {
  return {.epochs = settings.epochs,
          .batch_size = 128,
          .learning_rate = 4e-3,
          .weight_decay = 1e-4,
          .loss = {.label_smoothing = 0.05,
                   .temperature = 3,
                   .distillation_weight = variant.teacher == TeacherUse::none ? 0 : 0.7},
          .feature_weight = variant.feature_weight,
          .augmentation = variant.augmentation,
          .seed = seed};
}

search::Genotype student_of(const search::SearchSpace& space, double size) {
  search::Genotype genotype;
  for (const search::Decision& decision : space.decisions())
    genotype.push_back(static_cast<int>(std::lround(size * static_cast<double>(decision.choices.size() - 1))));
  return genotype;
}

struct Runs {
  std::vector<double> accuracies;  // of the test split, percent
  double seconds = 0;
};

double mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

double deviation(const std::vector<double>& values) {
  double squares = 0;
  for (const double value : values) squares += (value - mean(values)) * (value - mean(values));
  return values.size() > 1 ? std::sqrt(squares / static_cast<double>(values.size() - 1)) : 0;
}

// Differences from the student without a teacher, seed by seed.
void print(const std::string& name, const Runs& runs, const Runs& without) {
  std::cout << std::format("{:20} {:6.2f} +- {:.2f} %", name, mean(runs.accuracies), deviation(runs.accuracies));
  if (&runs != &without) {
    std::vector<double> differences;
    for (std::size_t i = 0; i < runs.accuracies.size(); ++i)
      differences.push_back(runs.accuracies[i] - without.accuracies[i]);
    std::cout << std::format("   {:+.2f} +- {:.2f} points", mean(differences), deviation(differences));
  } else {
    std::cout << std::string(25, ' ');
  }
  std::cout << std::format("   {:5.1f} s a training\n", runs.seconds / static_cast<double>(runs.accuracies.size()))
            << std::flush;
}

void compare(const Settings& settings) {
  at::set_num_threads(1);
  at::globalContext().setFlushDenormal(true);
  Dataset data = need(load_dataset({.format = "idx", .path = settings.data, .validation_samples = 5000}));
  if (settings.images < data.train.size()) {
    std::vector<std::int64_t> first(static_cast<std::size_t>(settings.images));
    for (std::size_t i = 0; i < first.size(); ++i) first[i] = static_cast<std::int64_t>(i);
    data.train = select(data.train, first);
  }
  const search::TensorShape shape{data.train.channels, data.train.height, data.train.width};
  const auto classes = std::ssize(data.class_names);
  const auto space = need(
      search::make_search_space({.image = shape, .classes = classes}).transform_error([](const search::Error& error) {
        return Error{error.message};
      }));

  const search::Network student = space->decode(student_of(*space, settings.size)).value();
  torch::manual_seed(1);
  const auto teacher = std::make_shared<NetworkModule>(need(teacher_network(shape, classes)), data.mean, data.stddev);
  TrainingOptions teaching = options(settings, {}, 1);
  teaching.epochs = settings.teacher_epochs;
  teaching.learning_rate = 2e-3;
  Training training(*teacher, data.train, {}, teaching);
  need(run(training, [](double) {}));
  teacher->eval();
  const Classifier answers = [&](const torch::Tensor& images) { return teacher->forward(images); };
  const torch::Tensor soft_targets = compute_soft_targets(answers, data.train, false, [](double) {});
  std::cout << std::format("teacher: {:.2f} %; students: {:.2f} M MACs, {} images, {} epochs, {} seeds, one thread\n",
                           100 * top1(answers, data.test), 1e-6 * static_cast<double>(search::cost_of(student).macs),
                           data.train.size(), settings.epochs, settings.seeds);

  Runs without;
  for (const Variant& variant : variants()) {
    const auto& wanted = settings.variants;
    const bool is_reference = variant.name == "none";
    if (!is_reference && !wanted.empty() && std::ranges::find(wanted, variant.name) == wanted.end()) continue;
    Runs runs;
    for (int seed = 1; seed <= settings.seeds; ++seed) {
      torch::manual_seed(static_cast<std::uint64_t>(seed));
      NetworkModule module(student, data.mean, data.stddev);
      std::unique_ptr<LiveTeacher> live;
      if (variant.features != FeatureKind::none) {
        live = need(LiveTeacher::with_features(teacher, module.network(), variant.features));
      } else if (variant.teacher == TeacherUse::batch) {
        live = std::make_unique<LiveTeacher>(answers);
      }
      Training learning(module, data.train, variant.teacher == TeacherUse::cached ? soft_targets : torch::Tensor(),
                        options(settings, variant, static_cast<std::uint64_t>(seed)), std::move(live));
      runs.seconds += need(run(learning, [](double) {})).seconds;
      module.eval();
      const Classifier classifier = [&](const torch::Tensor& images) { return module.forward(images); };
      runs.accuracies.push_back(100 * top1(classifier, data.test));
    }
    if (is_reference) without = runs;
    print(variant.name, is_reference ? without : runs, without);
  }
}

}  // namespace
}  // namespace finch::trainer

int main(int count, char** arguments) {
  finch::trainer::Settings settings;
  CLI::App app("What a teacher is worth to a student, over several seeds.");
  app.add_option("--data", settings.data, "folder of the data set, IDX files");
  app.add_option("--seeds", settings.seeds, "trainings of each kind");
  app.add_option("--epochs", settings.epochs, "of a student");
  app.add_option("--teacher-epochs", settings.teacher_epochs, "of the teacher");
  app.add_option("--size", settings.size, "of the student, from the space's smallest to its largest")
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--images", settings.images, "of the training split, for teacher and students");
  app.add_option("variants", settings.variants, "all unless named");
  CLI11_PARSE(app, count, arguments);
  finch::trainer::compare(settings);
}
