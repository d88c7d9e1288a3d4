#include "trainer/feature_loss.hpp"

#include <algorithm>
#include <variant>

namespace finch::trainer {
namespace {

torch::Tensor averaged_to(const torch::Tensor& map, std::int64_t height, std::int64_t width) {
  if (map.size(2) == height && map.size(3) == width) return map;
  return torch::adaptive_avg_pool2d(map, {height, width});
}

std::pair<torch::Tensor, torch::Tensor> of_one_size(const torch::Tensor& a, const torch::Tensor& b) {
  const std::int64_t height = std::min(a.size(2), b.size(2)), width = std::min(a.size(3), b.size(3));
  return {averaged_to(a, height, width), averaged_to(b, height, width)};
}

constexpr double kTiny = 1e-12;  // keeps roots and quotients differentiable at 0

torch::Tensor attention_map(const torch::Tensor& features) {
  const torch::Tensor map = features.pow(2).mean(1).flatten(1);
  return map / (map.pow(2).sum(1, /*keepdim=*/true) + kTiny).sqrt();
}

// Of all pairs, relative to their mean.
torch::Tensor relative_distances(const torch::Tensor& x) {
  const torch::Tensor squares = x.pow(2).sum(1);
  const torch::Tensor product = x.matmul(x.t());
  const torch::Tensor distances =
      (squares.unsqueeze(0) + squares.unsqueeze(1) - 2 * product).clamp_min(0).add(kTiny).sqrt();
  const torch::Tensor others = 1 - torch::eye(x.size(0), x.options());
  const torch::Tensor mean = (distances * others).sum() / others.sum();
  return distances * others / (mean + kTiny);
}

// cos of the angle at image i between images j and k, [N, N, N]; from inner products alone, whatever the length of a
// row.
torch::Tensor angles(const torch::Tensor& x) {
  const torch::Tensor centred = x - x.mean(0, /*keepdim=*/true);  // angles do not change, products stay small
  const torch::Tensor products = centred.matmul(centred.t());
  const torch::Tensor squares = products.diagonal();
  const torch::Tensor own = squares.view({-1, 1, 1});
  // (x_j - x_i)(x_k - x_i)
  const torch::Tensor sides = products.unsqueeze(0) - products.unsqueeze(1) - products.unsqueeze(2) + own;
  const torch::Tensor lengths =
      (squares.unsqueeze(0) + squares.unsqueeze(1) - 2 * products).clamp_min(0).add(kTiny).sqrt();
  const torch::Tensor others = 1 - torch::eye(x.size(0), x.options());  // an image has no direction from itself
  return (sides * others.unsqueeze(1) * others.unsqueeze(2)) / (lengths.unsqueeze(1) * lengths.unsqueeze(2));
}

}  // namespace

torch::Tensor hint_loss(const torch::Tensor& student, const torch::Tensor& teacher) {
  const auto [a, b] = of_one_size(student, teacher);
  return torch::mse_loss(a, b);
}

torch::Tensor attention_loss(const torch::Tensor& student, const torch::Tensor& teacher) {
  const auto [a, b] = of_one_size(student, teacher);
  return (attention_map(a) - attention_map(b)).pow(2).sum(1).mean();
}

torch::Tensor relational_loss(const torch::Tensor& student, const torch::Tensor& teacher) {
  constexpr double kAngleWeight = 2;
  return torch::smooth_l1_loss(relative_distances(student), relative_distances(teacher)) +
         kAngleWeight * torch::smooth_l1_loss(angles(student), angles(teacher));
}

std::vector<std::int32_t> stage_ends(const search::Network& network) {
  std::vector<std::int32_t> ends;
  bool convolved = false;
  const search::TensorShape* last = nullptr;
  for (std::int32_t i = 0; i < std::ssize(network.nodes); ++i) {
    const search::Node& node = network.nodes[static_cast<std::size_t>(i)];
    convolved = convolved || std::holds_alternative<search::Convolution>(node.operation);
    if (!convolved || node.shape.height * node.shape.width <= 1) continue;  // gates of squeeze-and-excitation too
    if (last != nullptr && last->height == node.shape.height && last->width == node.shape.width) {
      ends.back() = i;
    } else {
      ends.push_back(i);
    }
    last = &node.shape;
  }
  return ends;
}

std::int32_t embedding_node(const search::Network& network) {
  return network.nodes.back().inputs.front();
}

}  // namespace finch::trainer
