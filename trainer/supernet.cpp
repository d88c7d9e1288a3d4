#include "trainer/supernet.hpp"

#include <algorithm>
#include <format>
#include <functional>
#include <random>
#include <set>

#include "trainer/batch_source.hpp"

namespace finch::trainer {
namespace {

namespace ir = finch::search;

constexpr std::int64_t kRecalibrationBatch = 250;
constexpr int kVisitedAtRandom = 1000;
constexpr const char* kMean = "normalize.mean";
constexpr const char* kStddev = "normalize.stddev";

bool is_statistic(const std::string& tensor) {
  return tensor == "running_mean" || tensor == "running_var";
}

bool fits(torch::IntArrayRef shape, torch::IntArrayRef into) {
  return shape.size() == into.size() && std::ranges::equal(shape, into, std::ranges::less_equal{});
}

// The first channels in both directions; the middle of a kernel.
torch::Tensor slice(torch::Tensor shared, torch::IntArrayRef shape) {
  for (std::size_t i = 0; i < shape.size(); ++i) {
    const auto dimension = static_cast<std::int64_t>(i);
    const std::int64_t room = shared.size(dimension) - shape[i];
    if (room > 0) shared = shared.narrow(dimension, i < 2 ? 0 : room / 2, shape[i]);
  }
  return shared;
}

// Networks that together have every layer of the space, each as large as it gets: the largest and what differs from it
// in one decision; and many others, for layers that exist where several decisions meet.
void visit_all_layers(const ir::SearchSpace& space, const std::function<void(ir::Network)>& visit) {
  const auto consider = [&](const ir::Genotype& genotype) {
    if (auto network = space.decode(genotype)) visit(std::move(*network));
  };
  ir::Genotype largest;  // not as canonical as space.largest(): a decision without effect has one in another's company
  for (const ir::Decision& decision : space.decisions())
    largest.push_back(static_cast<int>(decision.choices.size()) - 1);
  consider(largest);
  for (std::size_t i = 0; i < largest.size(); ++i) {
    ir::Genotype other = largest;
    for (other[i] = 0; other[i] < largest[i]; ++other[i]) consider(other);
  }
  std::mt19937_64 generator(1);
  for (int i = 0; i < kVisitedAtRandom; ++i) consider(space.random(generator));
}

// Of what the convolutions see.
std::int64_t resolution_of(const ir::Network& network) {
  std::int64_t height = network.input_shape().height;
  for (const ir::Node& node : network.nodes) {
    if (const auto* resize = std::get_if<ir::Resize>(&node.operation)) height = resize->height;
  }
  return height;
}

bool depends_on_scale(const ir::Node& node, const std::string& tensor) {
  const auto* conv = std::get_if<ir::Convolution>(&node.operation);
  return conv != nullptr && (tensor != "weight" || conv->groups > 1);
}

std::string at_resolution(const std::string& name, std::int64_t resolution) {
  return std::format("{}@{}", name, resolution);
}

std::vector<float> to_vector(const torch::Tensor& values) {
  return {values.data_ptr<float>(), values.data_ptr<float>() + values.numel()};
}

}  // namespace

// Of a 7x7 kernel the inner 3x3 is no good 3x3 kernel: those of different sizes learn apart.
std::string shared_name(const ir::Node& node, const std::string& tensor) {
  const auto* conv = std::get_if<ir::Convolution>(&node.operation);
  const bool depthwise = conv != nullptr && conv->groups > 1 && tensor == "weight";
  return depthwise ? std::format("{}.{}{}", node.name, tensor, conv->kernel_size) : node.name + "." + tensor;
}

std::map<std::string, SharedTensor> shared_tensors(const ir::SearchSpace& space) {
  std::map<std::string, SharedTensor> all;
  const auto note = [&](const ir::Node& node, const std::string& tensor, torch::IntArrayRef shape) {
    if (!is_statistic(tensor)) {
      SharedTensor& shared = all[shared_name(node, tensor)];
      if (shared.largest.empty()) shared = {node, tensor, shape.vec(), shape.vec()};
      for (std::size_t i = 0; i < shape.size(); ++i) {
        shared.smallest[i] = std::min(shared.smallest[i], shape[i]);
        shared.largest[i] = std::max(shared.largest[i], shape[i]);
      }
    }
    return torch::empty(shape);
  };
  visit_all_layers(space, [&](ir::Network network) {
    const auto channels = static_cast<std::size_t>(network.input_shape().channels);
    NetworkModule(std::move(network), std::vector<float>(channels, 0), std::vector<float>(channels, 1), note);
  });
  return all;
}

Supernet::Supernet(const ir::SearchSpace& space, std::vector<float> mean, std::vector<float> stddev)
    : mean_(std::move(mean)), stddev_(std::move(stddev)) {
  for (const auto& [name, shared] : shared_tensors(space))
    weights_[name] = fresh_weight(shared.node, shared.tensor, shared.largest).requires_grad_();
}

std::expected<Supernet, Error> Supernet::load(const std::filesystem::path& path) {
  auto tensors = load_tensors(path);
  if (!tensors) return std::unexpected(tensors.error());
  if (!tensors->contains(kMean) || !tensors->contains(kStddev))
    return std::unexpected(Error{path.string() + ": holds no supernet"});
  Supernet supernet;
  supernet.mean_ = to_vector(tensors->extract(kMean).mapped());
  supernet.stddev_ = to_vector(tensors->extract(kStddev).mapped());
  supernet.weights_ = std::move(*tensors);
  for (auto& [name, tensor] : supernet.weights_) tensor.requires_grad_();
  return supernet;
}

std::string Supernet::serialize() const {
  NamedTensors tensors = weights_;
  tensors[kMean] = torch::tensor(mean_);
  tensors[kStddev] = torch::tensor(stddev_);
  return serialize_tensors(tensors);
}

std::expected<Supernet::Subnet, Error> Supernet::subnet(ir::Network network) const {
  const torch::NoGradGuard no_grad;
  Subnet subnet;
  std::string missing;
  const std::int64_t resolution = resolution_of(network);
  subnet.module = std::make_unique<NetworkModule>(
      std::move(network), mean_, stddev_,
      [&](const ir::Node& node, const std::string& tensor, torch::IntArrayRef shape) {
        if (is_statistic(tensor)) return fresh_weight(node, tensor, shape);
        auto shared = weights_.find(at_resolution(shared_name(node, tensor), resolution));
        if (shared == weights_.end()) shared = weights_.find(shared_name(node, tensor));
        if (shared == weights_.end() || !fits(shape, shared->second.sizes())) {
          missing = node.name + "." + tensor;
          return torch::zeros(shape);
        }
        torch::Tensor own = slice(shared->second, shape).clone(at::MemoryFormat::Contiguous);
        subnet.shares.emplace_back(shared->first, own);
        return own;
      });
  if (!weights_.empty()) subnet.module->move_to(weights_.begin()->second.device());
  if (missing.empty()) return subnet;
  return std::unexpected(
      Error{std::format("the supernet has no '{}' of this network's size; it was made for another space", missing)});
}

std::map<std::string, std::string> Supernet::split_by_resolution(const ir::SearchSpace& space) {
  const torch::NoGradGuard no_grad;
  std::set<std::int64_t> resolutions;
  visit_all_layers(space, [&](const ir::Network& network) { resolutions.insert(resolution_of(network)); });
  std::map<std::string, std::string> parts;
  for (const auto& [name, shared] : shared_tensors(space)) {
    const auto whole = weights_.find(name);
    if (whole == weights_.end() || !depends_on_scale(shared.node, shared.tensor)) continue;
    for (const std::int64_t resolution : resolutions) {
      const std::string part = at_resolution(name, resolution);
      weights_[part] = whole->second.detach().clone().requires_grad_();
      parts[part] = name;
    }
    weights_.erase(whole);
  }
  return parts;
}

void Supernet::move_to(torch::Device device) {
  const torch::NoGradGuard no_grad;
  for (auto& [name, tensor] : weights_) tensor.set_data(tensor.to(device));
}

void Supernet::add_gradients(const Subnet& subnet) {
  const torch::NoGradGuard no_grad;
  std::vector<torch::Tensor> sums, gradients;
  for (const auto& [name, own] : subnet.shares) {
    if (!own.grad().defined()) continue;
    torch::Tensor& shared = weights_.at(name);
    if (!shared.grad().defined()) shared.mutable_grad() = torch::zeros_like(shared);
    sums.push_back(slice(shared.grad(), own.sizes()));
    gradients.push_back(own.grad());
  }
  at::_foreach_add_(sums, gradients);  // one call: on a GPU a call costs more than the sum
}

void recalibrate(NetworkModule& module, const ImageSplit& split, std::int64_t images) {
  const torch::NoGradGuard no_grad;
  module.train();
  const std::int64_t count = std::min(images, split.size());
  std::int64_t batches = 0;
  for (std::int64_t first = 0; first < count; first += kRecalibrationBatch) {
    module.set_momentum(1.0 / static_cast<double>(++batches));
    module.forward(plain_images(split, first, std::min(kRecalibrationBatch, count - first)));
  }
  module.eval();
}

}  // namespace finch::trainer
