#include "trainer/network_module.hpp"

#include <ATen/autocast_mode.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace finch::trainer {
namespace {

namespace ir = finch::search;

constexpr double kBatchNormEpsilon = 1e-5;

template <typename... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

torch::Tensor per_channel(const std::vector<float>& values) {
  return torch::tensor(values).view({1, -1, 1, 1});
}

torch::Tensor activate(ir::ActivationKind kind, torch::Tensor x, bool in_place) {
  switch (kind) {
    case ir::ActivationKind::relu:
      return in_place ? torch::relu_(x) : torch::relu(x);
    case ir::ActivationKind::relu6:
      return torch::hardtanh(x, 0, 6);
    case ir::ActivationKind::hard_swish:
      return torch::hardswish(x);
    case ir::ActivationKind::hard_sigmoid:
      return torch::hardsigmoid(x);
    case ir::ActivationKind::sigmoid:
      return torch::sigmoid(x);
    case ir::ActivationKind::silu:
      return torch::silu(x);
  }
  return x;
}

// cuDNN plans every shape of a convolution that it has not met for milliseconds, and a supernet's next network is one
// that it has not met. Matrix products and LibTorch's own depthwise kernel plan nothing.
torch::Tensor convolve_on_gpu(const ir::Convolution& op, const torch::Tensor& x, const torch::Tensor& weight,
                              const torch::Tensor& bias) {
  const bool pointwise = op.kernel_size == 1 && op.groups == 1 && op.stride == 1 && op.padding == 0;
  const bool depthwise = op.groups > 1 && op.groups == op.out_channels && op.groups == x.size(1);
  // LibTorch takes its own depthwise kernel for what is not channels-last, and cuDNN for what is.
  const torch::Tensor input = x.contiguous(depthwise ? at::MemoryFormat::Contiguous : at::MemoryFormat::ChannelsLast);
  if (!pointwise) return torch::conv2d(input, weight, bias, op.stride, op.padding, /*dilation=*/1, op.groups);
  return torch::linear(input.permute({0, 2, 3, 1}), weight.view({op.out_channels, -1}), bias).permute({0, 3, 1, 2});
}

torch::Tensor convolve(const ir::Convolution& op, const torch::Tensor& x, const torch::Tensor& weight,
                       const torch::Tensor& bias) {
  if (x.is_cuda()) return convolve_on_gpu(op, x, weight, bias);
  // oneDNN's depthwise kernels are several times faster on channels-last tensors.
  return torch::conv2d(x.contiguous(at::MemoryFormat::ChannelsLast), weight, bias, op.stride, op.padding,
                       /*dilation=*/1, op.groups);
}

// While it lives, a GPU's convolutions and matrix products calculate in bfloat16, and what needs more in float32.
class BrainFloats {
 public:
  BrainFloats() {
    at::autocast::set_autocast_dtype(at::kCUDA, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCUDA, true);
    at::autocast::increment_nesting();
  }
  ~BrainFloats() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCUDA, false);
  }
  BrainFloats(const BrainFloats&) = delete;
  BrainFloats& operator=(const BrainFloats&) = delete;
};

std::vector<float> to_vector(const torch::Tensor& tensor) {
  const torch::Tensor values = tensor.detach().to(torch::kCPU, torch::kFloat).contiguous();
  return {values.data_ptr<float>(), values.data_ptr<float>() + values.numel()};
}

}  // namespace

torch::Tensor fresh_weight(const ir::Node& node, const std::string& tensor, torch::IntArrayRef shape) {
  if (tensor == "scale" || tensor == "running_var") return torch::ones(shape);
  if (tensor != "weight") return torch::zeros(shape);
  torch::Tensor weight = torch::empty(shape);
  if (const auto* conv = std::get_if<ir::Convolution>(&node.operation)) {
    const double fan_out = static_cast<double>(shape[2] * shape[3] * shape[0]) / static_cast<double>(conv->groups);
    return weight.normal_(0, std::sqrt(2 / fan_out));
  }
  const double bound = 1 / std::sqrt(static_cast<double>(shape[1]));
  return weight.uniform_(-bound, bound);
}

NetworkModule::NetworkModule(ir::Network network, std::vector<float> mean, std::vector<float> stddev,
                             const WeightSource& weights)
    : network_(std::move(network)),
      mean_(std::move(mean)),
      stddev_(std::move(stddev)),
      mean_tensor_(per_channel(mean_)),
      inverse_stddev_(per_channel(stddev_).reciprocal()),
      layers_(network_.nodes.size()),
      last_use_(network_.nodes.size()),
      in_place_(network_.nodes.size()) {
  std::vector<int> uses(network_.nodes.size());
  for (std::size_t i = 0; i < network_.nodes.size(); ++i) {
    make_layer(network_.nodes[i], layers_[i], weights);
    last_use_[i] = i;
    for (const std::int32_t input : network_.nodes[i].inputs) {
      last_use_[static_cast<std::size_t>(input)] = i;
      ++uses[static_cast<std::size_t>(input)];
    }
  }
  // ReLU's gradient needs its output only, and neither convolution nor BatchNorm needs the output it overwrites.
  for (std::size_t i = 0; i < network_.nodes.size(); ++i) {
    const auto* activation = std::get_if<ir::Activation>(&network_.nodes[i].operation);
    if (activation == nullptr || activation->kind != ir::ActivationKind::relu) continue;
    const auto input = static_cast<std::size_t>(network_.nodes[i].inputs[0]);
    in_place_[i] = uses[input] == 1 && std::holds_alternative<ir::Convolution>(network_.nodes[input].operation);
  }
}

void NetworkModule::make_layer(const ir::Node& node, Layer& layer, const WeightSource& weights) {
  // LibTorch allows no dots in the names of parameters.
  std::string prefix = node.name;
  std::ranges::replace(prefix, '.', '/');
  const auto parameter = [&](const std::string& name, torch::IntArrayRef shape) {
    return state_[node.name + "." + name] = register_parameter(prefix + "/" + name, weights(node, name, shape));
  };
  const auto buffer = [&](const std::string& name, torch::IntArrayRef shape) {
    return state_[node.name + "." + name] = register_buffer(prefix + "/" + name, weights(node, name, shape));
  };
  const auto in_channels = [&] { return network_.nodes[static_cast<std::size_t>(node.inputs[0])].shape.channels; };
  if (const auto* conv = std::get_if<ir::Convolution>(&node.operation)) {
    layer.weight =
        parameter("weight", {conv->out_channels, in_channels() / conv->groups, conv->kernel_size, conv->kernel_size});
    if (conv->bias) layer.bias = parameter("bias", {conv->out_channels});
    if (conv->batch_norm) {
      layer.scale = parameter("scale", {conv->out_channels});
      layer.shift = parameter("shift", {conv->out_channels});
      layer.running_mean = buffer("running_mean", {conv->out_channels});
      layer.running_var = buffer("running_var", {conv->out_channels});
    }
  } else if (const auto* linear = std::get_if<ir::Linear>(&node.operation)) {
    layer.weight = parameter("weight", {linear->out_features, in_channels()});
    layer.bias = parameter("bias", {linear->out_features});
  }
}

NetworkModule::Filter NetworkModule::deployed_filter(std::size_t node) const {
  const Layer& layer = layers_[node];
  if (!layer.scale.defined()) return {.weight = layer.weight, .bias = layer.bias};
  const Filter folded = folded_filter(layer, torch::kDouble);
  return {.weight = folded.weight.to(torch::kFloat), .bias = folded.bias.to(torch::kFloat)};
}

torch::Tensor NetworkModule::compute(std::size_t index, const std::vector<torch::Tensor>& inputs,
                                     const Filter& filter) const {
  return std::visit(
      Overloaded{[&](const ir::Input&) { return inputs[0]; },
                 [&](const ir::Normalize&) { return (inputs[0] - mean_tensor_).mul_(inverse_stddev_); },
                 [&](const ir::Resize& op) {
                   return torch::upsample_bilinear2d(inputs[0], {op.height, op.width}, /*align_corners=*/false);
                 },
                 [&](const ir::Convolution& op) { return convolve(op, inputs[0], filter.weight, filter.bias); },
                 [&](const ir::Activation& op) { return activate(op.kind, inputs[0], /*in_place=*/false); },
                 [&](const ir::Add&) { return inputs[0] + inputs[1]; },
                 [&](const ir::Scale&) { return inputs[0] * inputs[1]; },
                 [&](const ir::ChannelSlice& op) { return inputs[0].narrow(1, op.begin, op.count); },
                 [&](const ir::Concat&) { return torch::cat(inputs, 1); },
                 [&](const ir::ChannelShuffle& op) { return torch::channel_shuffle(inputs[0], op.groups); },
                 [&](const ir::AveragePool& op) {
                   return torch::avg_pool2d(inputs[0], op.kernel_size, op.stride, op.padding, /*ceil_mode=*/false,
                                            /*count_include_pad=*/false);
                 },
                 [&](const ir::GlobalAveragePool&) { return torch::adaptive_avg_pool2d(inputs[0], {1, 1}); },
                 [&](const ir::Linear&) { return torch::linear(inputs[0].flatten(1), filter.weight, filter.bias); }},
      network_.nodes[index].operation);
}

torch::Tensor NetworkModule::apply(std::size_t index, const std::vector<torch::Tensor>& outputs,
                                   const torch::Tensor& images) const {
  const ir::Node& node = network_.nodes[index];
  const Layer& layer = layers_[index];
  std::vector<torch::Tensor> inputs;
  for (const std::int32_t input : node.inputs) inputs.push_back(outputs[static_cast<std::size_t>(input)]);
  if (inputs.empty()) return images;
  if (const auto* activation = std::get_if<ir::Activation>(&node.operation)) {
    return activate(activation->kind, inputs[0], in_place_[index]);
  }
  const auto* conv = std::get_if<ir::Convolution>(&node.operation);
  if (conv == nullptr || !conv->batch_norm) {
    return compute(index, inputs, {.weight = layer.weight, .bias = layer.bias});
  }
  // With fixed statistics BatchNorm is a factor and a shift, which need no pass of their own; on a GPU they would take
  // more calls than it does.
  if (!is_training() && !torch::GradMode::is_enabled() && !device().is_cuda())
    return compute(index, inputs, folded_filter(layer));
  return torch::batch_norm(compute(index, inputs, {.weight = layer.weight, .bias = layer.bias}), layer.scale,
                           layer.shift, layer.running_mean, layer.running_var, is_training(), momentum_,
                           kBatchNormEpsilon, /*cudnn_enabled=*/false);
}

torch::Tensor NetworkModule::forward(const torch::Tensor& images, const Observer& observer) {
  const torch::Tensor here = images.to(device(), /*non_blocking=*/device().is_cuda());
  if (replaced_forward_) return replaced_forward_(here);
  std::optional<BrainFloats> brain_floats;
  if (device().is_cuda() && is_training() && torch::GradMode::is_enabled()) brain_floats.emplace();
  std::vector<torch::Tensor> outputs(network_.nodes.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    outputs[i] = apply(i, outputs, here);
    if (observer) observer(static_cast<std::int32_t>(i), outputs[i].to(torch::kFloat));
    // Outputs that nobody needs any more give their memory back.
    for (const std::int32_t input : network_.nodes[i].inputs) {
      const auto at = static_cast<std::size_t>(input);
      if (last_use_[at] == i) outputs[at].reset();
    }
  }
  return outputs.back().flatten(1).to(torch::kFloat);
}

std::int64_t NetworkModule::inherit(const NamedTensors& other) {
  const torch::NoGradGuard no_grad;
  std::int64_t inherited = 0;
  for (auto& [name, tensor] : state_) {
    const auto found = other.find(name);
    if (found == other.end() || found->second.sizes() != tensor.sizes()) continue;
    tensor.copy_(found->second);
    ++inherited;
  }
  return inherited;
}

void NetworkModule::move_to(torch::Device device) {
  to(device);
  if (device.is_cuda()) {
    const torch::NoGradGuard no_grad;
    for (torch::Tensor& tensor : parameters()) {
      if (tensor.dim() == 4 && tensor.size(1) > 1 && tensor.size(2) > 1)
        tensor.set_data(tensor.contiguous(at::MemoryFormat::ChannelsLast));
    }
  }
  mean_tensor_ = mean_tensor_.to(device);
  inverse_stddev_ = inverse_stddev_.to(device);
}

NamedTensors NetworkModule::filters() const {
  NamedTensors weights;
  for (const auto& [name, tensor] : state_) {
    if (name.ends_with(".weight")) weights.emplace(name, tensor);
  }
  return weights;
}

NetworkModule::Filter NetworkModule::folded_filter(const Layer& layer, torch::ScalarType type) {
  const torch::Tensor factor = layer.scale.to(type) / torch::sqrt(layer.running_var.to(type) + kBatchNormEpsilon);
  torch::Tensor mean = layer.running_mean.to(type);
  if (layer.bias.defined()) mean = mean - layer.bias.to(type);
  return {.weight = layer.weight.to(type) * factor.view({-1, 1, 1, 1}), .bias = layer.shift.to(type) - mean * factor};
}

NetworkWeights NetworkModule::fold() const {
  const torch::NoGradGuard no_grad;
  NetworkWeights weights{.layers = {}, .mean = mean_, .stddev = stddev_};
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    if (!layer.weight.defined()) continue;
    Filter folded{.weight = layer.weight, .bias = layer.bias};
    if (layer.scale.defined()) folded = folded_filter(layer, torch::kDouble);
    if (!folded.bias.defined()) folded.bias = torch::zeros({layer.weight.size(0)});
    weights.layers[static_cast<std::int32_t>(i)] = {to_vector(folded.weight), to_vector(folded.bias)};
  }
  return weights;
}

std::unique_ptr<NetworkModule> copy_of(const NetworkModule& module) {
  auto copy = std::make_unique<NetworkModule>(module.network(), module.mean(), module.stddev(),
                                              [&](const ir::Node& node, const std::string& tensor, torch::IntArrayRef) {
                                                return module.state().at(node.name + "." + tensor).detach().clone();
                                              });
  copy->move_to(module.device());
  return copy;
}

std::unique_ptr<NetworkModule> fold_batch_norm(const NetworkModule& module) {
  ir::Network network = module.network();
  for (ir::Node& node : network.nodes) {
    auto* convolution = std::get_if<ir::Convolution>(&node.operation);
    if (convolution == nullptr || !convolution->batch_norm) continue;
    convolution->batch_norm = false;
    convolution->bias = true;
  }
  const NetworkWeights weights = module.fold();
  std::map<std::string, const LayerWeights*> layers;  // by node
  for (const auto& [node, layer] : weights.layers) layers[network.nodes[static_cast<std::size_t>(node)].name] = &layer;
  return std::make_unique<NetworkModule>(
      network, module.mean(), module.stddev(),
      [&](const ir::Node& node, const std::string& tensor, torch::IntArrayRef shape) {
        const LayerWeights& layer = *layers.at(node.name);
        return torch::tensor(tensor == "weight" ? layer.weight : layer.bias).view(shape);
      });
}

}  // namespace finch::trainer
