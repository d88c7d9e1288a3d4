#include "trainer/job_settings.hpp"

#include <array>
#include <format>

#include "search/search_space.hpp"

namespace finch::trainer {

DataSource data_source(const protocol::DataSpec& spec) {
  return {.format = spec.format(),
          .path = spec.path(),
          .validation_samples = spec.validation_samples(),
          .seed = spec.seed()};
}

std::expected<TrainingOptions, Error> training_options(const protocol::Recipe& recipe) {
  struct Range {
    const char* name;
    double value, low, high;
  };
  const std::array ranges = {
      Range{"epochs", recipe.epochs(), 1e-6, 1e6},
      Range{"batch_size", static_cast<double>(recipe.batch_size()), 1, 1 << 20},
      Range{"learning_rate", recipe.learning_rate(), 1e-9, 1e3},
      Range{"weight_decay", recipe.weight_decay(), 0, 1e3},
      Range{"label_smoothing", recipe.label_smoothing(), 0, 1},
      Range{"distillation_weight", recipe.distillation_weight(), 0, 1},
      Range{"temperature", recipe.distillation_weight() > 0 ? recipe.temperature() : 1, 1e-3, 1e3},
      Range{"crop_padding", static_cast<double>(recipe.crop_padding()), 0, 1 << 10},
  };
  for (const Range& range : ranges) {
    if (!(range.value >= range.low && range.value <= range.high)) {
      return std::unexpected(Error{std::format("the recipe's {} is {}; it must lie between {} and {}", range.name,
                                               range.value, range.low, range.high)});
    }
  }
  return TrainingOptions{.epochs = recipe.epochs(),
                         .batch_size = recipe.batch_size(),
                         .learning_rate = recipe.learning_rate(),
                         .weight_decay = recipe.weight_decay(),
                         .loss = {.label_smoothing = recipe.label_smoothing(),
                                  .temperature = recipe.temperature(),
                                  .distillation_weight = recipe.distillation_weight()},
                         .augmentation = {.flip = recipe.flip(), .crop_padding = recipe.crop_padding()},
                         .seed = recipe.seed()};
}

std::expected<search::Network, Error> decode(const protocol::SpaceSpec& spec,
                                             const google::protobuf::RepeatedField<std::int32_t>& genotype,
                                             const Dataset& dataset) {
  const auto space = search::make_search_space(
      {.name = spec.name(), .image = {spec.channels(), spec.height(), spec.width()}, .classes = spec.classes()});
  if (!space) return std::unexpected(Error{space.error().message});
  auto network = (*space)->decode({genotype.begin(), genotype.end()});
  if (!network) return std::unexpected(Error{network.error().message});
  const ImageSplit& images = dataset.train;
  if (network->input_shape() != search::TensorShape{images.channels, images.height, images.width} ||
      spec.classes() != std::ssize(dataset.class_names)) {
    return std::unexpected(Error{
        std::format("the space is made for {} x {} x {} images of {} classes, but the data has {} x {} x {} of {}",
                    spec.channels(), spec.height(), spec.width(), spec.classes(), images.channels, images.height,
                    images.width, dataset.class_names.size())});
  }
  return std::move(*network);
}

}  // namespace finch::trainer
