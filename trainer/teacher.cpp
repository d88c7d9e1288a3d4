#include "trainer/teacher.hpp"

#include <torch/script.h>

#include <format>
#include <memory>

#include "trainer/batch_source.hpp"
#include "trainer/model_file.hpp"

namespace finch::trainer {
namespace {

namespace ir = finch::search;

class Builder {
 public:
  explicit Builder(const ir::TensorShape& image) : builder_(image) {
    x_ = builder_.add("normalize", ir::Normalize{}, {0});
  }

  void convolution(const std::string& name, std::int64_t channels, std::int64_t kernel_size, std::int64_t stride,
                   bool relu) {
    x_ = builder_.add(
        name,
        ir::Convolution{
            .out_channels = channels, .kernel_size = kernel_size, .stride = stride, .padding = kernel_size / 2},
        {x_});
    if (relu) activation(name);
  }

  void residual_block(const std::string& name) {
    const std::int32_t input = x_;
    const std::int64_t channels = builder_.shape(input).channels;
    convolution(name + ".first", channels, 3, 1, true);
    convolution(name + ".second", channels, 3, 1, false);
    x_ = builder_.add(name + ".add", ir::Add{}, {x_, input});
    activation(name);
  }

  std::expected<ir::Network, Error> finish(std::int64_t classes) {
    x_ = builder_.add("pool", ir::GlobalAveragePool{}, {x_});
    builder_.add("classifier", ir::Linear{classes}, {x_});
    auto network = builder_.finish();
    if (!network) return std::unexpected(Error{network.error().message});
    return std::move(*network);
  }

 private:
  void activation(const std::string& name) {
    x_ = builder_.add(name + ".activation", ir::Activation{ir::ActivationKind::relu}, {x_});
  }

  ir::NetworkBuilder builder_;
  std::int32_t x_ = 0;
};

}  // namespace

std::expected<ir::Network, Error> teacher_network(const ir::TensorShape& image, std::int64_t classes) {
  Builder builder(image);
  builder.convolution("stem", 24, 5, 2, true);
  builder.convolution("stage1.down", 48, 3, image.height > 40 ? 2 : 1, true);
  builder.convolution("stage2.down", 96, 3, 2, true);
  builder.residual_block("stage2.block0");
  return builder.finish(classes);
}

std::string serialize_teacher(const NetworkModule& teacher, const Dataset& dataset) {
  NamedTensors tensors = teacher.state();
  tensors["mean"] = torch::tensor(dataset.mean);
  tensors["stddev"] = torch::tensor(dataset.stddev);
  return serialize_tensors(tensors);
}

std::expected<std::shared_ptr<NetworkModule>, Error> load_built_in_teacher(const std::filesystem::path& path,
                                                                           const Dataset& dataset) {
  const ImageSplit& images = dataset.train;
  const auto tensors = load_tensors(path);
  if (!tensors || !tensors->contains("mean") || !tensors->contains("stddev")) return nullptr;
  auto network = teacher_network({images.channels, images.height, images.width}, std::ssize(dataset.class_names));
  if (!network) return std::unexpected(network.error());
  const auto to_vector = [](const torch::Tensor& values) {
    return std::vector<float>(values.data_ptr<float>(), values.data_ptr<float>() + values.numel());
  };
  if (tensors->at("mean").numel() == images.channels && tensors->at("stddev").numel() == images.channels) {
    auto module = std::make_shared<NetworkModule>(std::move(*network), to_vector(tensors->at("mean")),
                                                  to_vector(tensors->at("stddev")));
    if (module->inherit(*tensors) == std::ssize(module->state())) {
      module->eval();
      return module;
    }
  }
  return std::unexpected(Error{path.string() + ": this teacher was trained on other images or classes"});
}

std::expected<Classifier, Error> load_teacher(const std::filesystem::path& path, const Dataset& dataset,
                                              torch::Device device) {
  const ImageSplit& images = dataset.train;
  const auto classes = std::ssize(dataset.class_names);
  if (const auto tensors = load_tensors(path); tensors && holds_model(*tensors)) {
    auto model = model_of(*tensors, path.string());
    if (!model) return std::unexpected(model.error());
    const search::Network& network = model->module->network();
    if (network.input_shape() != search::TensorShape{images.channels, images.height, images.width} ||
        network.output_shape().channels != classes)
      return std::unexpected(Error{path.string() + ": this model is for other images or classes"});
    const std::shared_ptr<NetworkModule> module = std::move(model->module);
    module->move_to(device);
    return [module](const torch::Tensor& batch) { return module->forward(batch); };
  }
  const auto built_in = load_built_in_teacher(path, dataset);
  if (!built_in) return std::unexpected(built_in.error());
  if (*built_in) {
    (*built_in)->move_to(device);
    return [module = *built_in](const torch::Tensor& batch) { return module->forward(batch); };
  }

  std::shared_ptr<torch::jit::Module> module;
  try {
    module = std::make_shared<torch::jit::Module>(torch::jit::load(path.string()));
  } catch (const std::exception&) {
    return std::unexpected(
        Error{path.string() + ": not a TorchScript module; save the teacher with torch.jit.script(model).save(...)"});
  }
  module->eval();
  module->to(device);
  Classifier classifier = [module, device](const torch::Tensor& batch) {
    return module->forward({batch.to(device)}).toTensor();
  };
  const std::string expectation = std::format("it must take float32 [N, {}, {}, {}] in [0, 1] and give logits [N, {}]",
                                              images.channels, images.height, images.width, classes);
  try {
    const torch::NoGradGuard no_grad;
    const torch::Tensor logits = classifier(plain_images(images, 0, std::min<std::int64_t>(2, images.size())));
    if (logits.dim() != 2 || logits.size(1) != classes || logits.scalar_type() != torch::kFloat) {
      return std::unexpected(Error{std::format("{}: gives {} {}, but {}", path.string(),
                                               logits.scalar_type() == torch::kFloat ? "float32" : "another type",
                                               c10::str(logits.sizes()), expectation)});
    }
  } catch (const std::exception&) {
    return std::unexpected(Error{std::format("{}: fails on the data's images; {}", path.string(), expectation)});
  }
  return classifier;
}

}  // namespace finch::trainer
