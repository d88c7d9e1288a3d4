#include "trainer/job_settings.hpp"

#include <array>
#include <format>

#include "search/search_space.hpp"
#include "trainer/randaugment.hpp"

namespace finch::trainer {

namespace {

std::expected<search::CustomSpaceConfig, Error> custom_space(const protocol::CustomSpace& message) {
  search::CustomSpaceConfig config;
  const auto copy = [](auto& to, const auto& from) { to.assign(from.begin(), from.end()); };
  copy(config.resolution, message.resolution());
  copy(config.width_multiplier, message.width_multiplier());
  config.activation.clear();
  for (const std::string& name : message.activation()) {
    const auto kind = search::parse_activation(name);
    if (!kind) return std::unexpected(Error{kind.error().message});
    config.activation.push_back(*kind);
  }
  config.stem_channels = message.stem_channels();
  config.stem_kernel_size = message.stem_kernel_size();
  config.stem_stride = message.stem_stride();
  config.head_channels = message.head_channels();
  for (const protocol::CustomSpace::Stage& from : message.stages()) {
    search::CustomStage& stage = config.stages.emplace_back();
    for (const std::string& name : from.blocks()) {
      const auto type = search::parse_block_type(name);
      if (!type) return std::unexpected(Error{type.error().message});
      stage.blocks.push_back(*type);
    }
    copy(stage.depth, from.depth());
    copy(stage.channels, from.channels());
    stage.stride = from.stride();
    copy(stage.kernel_size, from.kernel_size());
    copy(stage.expand_ratio, from.expand_ratio());
    copy(stage.channel_ratio, from.channel_ratio());
    copy(stage.squeeze_excite, from.squeeze_excite());
  }
  return config;
}

}  // namespace

DataSource data_source(const protocol::DataSpec& spec) {
  return {.format = spec.format(),
          .path = spec.path(),
          .validation_samples = spec.validation_samples(),
          .seed = spec.seed(),
          .corrupt = spec.skip_corrupt() ? CorruptImages::skip : CorruptImages::refuse,
          .height = spec.height(),
          .width = spec.width()};
}

std::expected<TrainingOptions, Error> training_options(const protocol::Recipe& recipe, const Dataset& dataset,
                                                       torch::Device device) {
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
      Range{"randaugment_operations", static_cast<double>(recipe.randaugment_operations()), 0, 100},
      Range{"randaugment_magnitude", recipe.randaugment_magnitude(), 0, kGreatestMagnitude},
      Range{"random_erasing", recipe.random_erasing(), 0, 1},
      Range{"mixup", recipe.mixup(), 0, 1e3},
      Range{"cutmix", recipe.cutmix(), 0, 1e3},
      Range{"feature_weight", recipe.feature_weight(), 0, 1e6},
  };
  for (const Range& range : ranges) {
    if (!(range.value >= range.low && range.value <= range.high)) {
      return std::unexpected(Error{std::format("the recipe's {} is {}; it must lie between {} and {}", range.name,
                                               range.value, range.low, range.high)});
    }
  }
  TrainingOptions options{.epochs = recipe.epochs(),
                          .batch_size = recipe.batch_size(),
                          .learning_rate = recipe.learning_rate(),
                          .weight_decay = recipe.weight_decay(),
                          .loss = {.label_smoothing = recipe.label_smoothing(),
                                   .temperature = recipe.temperature(),
                                   .distillation_weight = recipe.distillation_weight(),
                                   .class_weights = {}},
                          .feature_weight = recipe.feature_weight(),
                          .augmentation = {.flip = recipe.flip(),
                                           .crop_padding = recipe.crop_padding(),
                                           .randaugment_operations = recipe.randaugment_operations(),
                                           .randaugment_magnitude = recipe.randaugment_magnitude(),
                                           .random_erasing = recipe.random_erasing(),
                                           .mixup = recipe.mixup(),
                                           .cutmix = recipe.cutmix()},
                          .seed = recipe.seed(),
                          .device = device};
  if (recipe.balanced_classes())
    options.loss.class_weights = balanced_class_weights(dataset.train, std::ssize(dataset.class_names));
  return options;
}

std::expected<void, Error> need_validation(const Dataset& dataset) {
  if (dataset.validation.size() > 0) return {};
  return std::unexpected(Error{"no validation samples are set aside; set validation_samples to at least 1"});
}

std::expected<QuantizeOptions, Error> quantize_options(const protocol::Quantize& quantize,
                                                       const TrainingOptions& recipe) {
  // Trained weights are near where they will end: Krishnamoorthi 2018, section 3.2, starts from a small rate too.
  constexpr double kShareOfLearningRate = 0.1;
  const auto calibration = parse_calibration(quantize.calibration());
  if (!calibration) return std::unexpected(calibration.error());
  if (quantize.calibration_images() < 1)
    return std::unexpected(Error{"calibration_images must be at least 1: ranges are chosen from them"});
  QuantizeOptions options{
      .calibration = {.method = *calibration, .images = quantize.calibration_images(), .seed = recipe.seed},
      .allowed_drop = quantize.qat_drop(),
      .qat = std::nullopt,
      .mixed_precision = quantize.mixed_precision()};
  if (quantize.qat_epochs() > 0) {
    options.qat = recipe;
    options.qat->epochs = quantize.qat_epochs();
    options.qat->learning_rate = kShareOfLearningRate * recipe.learning_rate;
  }
  return options;
}

protocol::QuantizationReport quantization_message(const QuantizationReport& report) {
  protocol::QuantizationReport message;
  message.set_fp32_top1(report.fp32_top1);
  message.set_ptq_top1(report.ptq_top1);
  if (report.qat_top1) message.set_qat_top1(*report.qat_top1);
  message.set_int8_top1(report.int8_top1);
  message.set_trained(report.trained);
  message.mutable_float_layers()->Add(report.float_layers.begin(), report.float_layers.end());
  message.set_layers(report.layers);
  message.set_image_layers(report.image_layers);
  return message;
}

std::expected<std::unique_ptr<search::SearchSpace>, Error> search_space(const protocol::SpaceSpec& spec,
                                                                        const Dataset& dataset) {
  search::SpaceConfig config{
      .name = spec.name(), .image = {spec.channels(), spec.height(), spec.width()}, .classes = spec.classes()};
  if (spec.has_custom()) {
    auto custom = custom_space(spec.custom());
    if (!custom) return std::unexpected(custom.error());
    config.custom = std::move(*custom);
  }
  auto space = search::make_search_space(config);
  if (!space) return std::unexpected(Error{space.error().message});
  const ImageSplit& images = dataset.train;
  if (config.image != search::TensorShape{images.channels, images.height, images.width} ||
      spec.classes() != std::ssize(dataset.class_names)) {
    return std::unexpected(Error{
        std::format("the space is made for {} x {} x {} images of {} classes, but the data has {} x {} x {} of {}",
                    spec.channels(), spec.height(), spec.width(), spec.classes(), images.channels, images.height,
                    images.width, dataset.class_names.size())});
  }
  return std::move(*space);
}

std::expected<search::Network, Error> decode(const protocol::SpaceSpec& spec,
                                             const google::protobuf::RepeatedField<std::int32_t>& genotype,
                                             const Dataset& dataset) {
  const auto space = search_space(spec, dataset);
  if (!space) return std::unexpected(space.error());
  auto network = (*space)->decode({genotype.begin(), genotype.end()});
  if (!network) return std::unexpected(Error{network.error().message});
  return std::move(*network);
}

}  // namespace finch::trainer
