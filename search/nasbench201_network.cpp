#include "search/nasbench201_network.hpp"

#include <array>
#include <format>
#include <optional>

#include "search/blocks.hpp"
#include "search/image_task.hpp"

namespace finch::search {
namespace {

constexpr std::int64_t kChannels[] = {16, 32, 64};
constexpr int kCells = 1;  // a stage

enum EdgeOperation { none, skip_connect, nor_conv_1x1, nor_conv_3x3, avg_pool_3x3 };

// The nodes of one cell. A node's ReLU is computed once, however many edges begin with it.
class Cell {
 public:
  Cell(NetworkBuilder& builder, std::string name, std::int32_t input) : builder_(builder), name_(std::move(name)) {
    nodes_[0] = input;
  }

  std::int32_t build(const Genotype& cell) {
    std::size_t edge = 0;
    for (std::size_t to = 1; to < nodes_.size(); ++to) {
      for (std::size_t from = 0; from < to; ++from) {
        const int operation = cell[edge++];
        if (operation == none || !nodes_[from]) continue;
        const std::int32_t x = apply(operation, from, to);
        nodes_[to] =
            nodes_[to] ? builder_.add(std::format("{}.node{}.sum{}", name_, to, from), Add{}, {*nodes_[to], x}) : x;
      }
    }
    return *nodes_.back();
  }

 private:
  std::int32_t apply(int operation, std::size_t from, std::size_t to) {
    const std::string name = std::format("{}.edge{}_{}", name_, from, to);
    const std::int64_t channels = builder_.shape(*nodes_[from]).channels;
    switch (operation) {
      case nor_conv_1x1:
        return builder_.add(name + ".conv1x1", Convolution{.out_channels = channels}, {activated(from)});
      case nor_conv_3x3:
        return builder_.add(name + ".conv3x3", Convolution{.out_channels = channels, .kernel_size = 3, .padding = 1},
                            {activated(from)});
      case avg_pool_3x3:
        return builder_.add(name + ".pool", AveragePool{.kernel_size = 3, .stride = 1, .padding = 1}, {*nodes_[from]});
      default:
        return *nodes_[from];
    }
  }

  std::int32_t activated(std::size_t node) {
    if (!activated_[node]) {
      activated_[node] =
          builder_.add(std::format("{}.node{}.relu", name_, node), Activation{ActivationKind::relu}, {*nodes_[node]});
    }
    return *activated_[node];
  }

  NetworkBuilder& builder_;
  const std::string name_;
  std::array<std::optional<std::int32_t>, 4> nodes_, activated_;
};

// The benchmark's own residual block: activations before convolutions; the shortcut averages 2x2 pixels before its 1x1
// convolution, 3x3 where the size is odd, as only so both ways meet.
std::int32_t reduction(NetworkBuilder& builder, const std::string& name, std::int32_t input, std::int64_t channels) {
  const Convolution square{.out_channels = channels, .kernel_size = 3, .stride = 1, .padding = 1};
  Convolution halving = square;
  halving.stride = 2;
  std::int32_t x = builder.add(name + ".relu0", Activation{ActivationKind::relu}, {input});
  x = convolution(builder, name + ".conv0", x, halving, ActivationKind::relu);
  x = builder.add(name + ".conv1", square, {x});
  const bool odd = builder.shape(input).height % 2 == 1;
  std::int32_t shortcut = builder.add(name + ".shortcut.pool",
                                      odd ? AveragePool{.kernel_size = 3, .stride = 2, .padding = 1}
                                          : AveragePool{.kernel_size = 2, .stride = 2, .padding = 0},
                                      {input});
  shortcut = builder.add(name + ".shortcut", Convolution{.out_channels = channels, .bias = true, .batch_norm = false},
                         {shortcut});
  return builder.add(name + ".add", Add{}, {x, shortcut});
}

// Whether a path leads from the cell's input to its output.
bool joined(const Genotype& cell) {
  std::array<bool, 4> reached = {true};
  std::size_t edge = 0;
  for (std::size_t to = 1; to < reached.size(); ++to) {
    for (std::size_t from = 0; from < to; ++from) {
      if (cell[edge++] != none && reached[from]) reached[to] = true;
    }
  }
  return reached.back();
}

}  // namespace

std::expected<Network, Error> nasbench201_network(const TensorShape& image, std::int64_t classes,
                                                  const Genotype& cell) {
  if (!joined(cell)) {
    return std::unexpected(Error{
        std::format("the nasbench201 cell {} computes nothing: no path joins its input and output", to_string(cell))});
  }
  NetworkBuilder builder(image);
  std::int32_t x = prepared_image(builder, image.height);
  x = builder.add("stem", Convolution{.out_channels = kChannels[0], .kernel_size = 3, .stride = 1, .padding = 1}, {x});
  for (std::size_t s = 0; s < std::size(kChannels); ++s) {
    const std::string stage = std::format("stage{}", s + 1);
    if (s > 0) x = reduction(builder, stage + ".reduction", x, kChannels[s]);
    for (int c = 0; c < kCells; ++c) x = Cell(builder, std::format("{}.cell{}", stage, c), x).build(cell);
  }
  x = builder.add("head.relu", Activation{ActivationKind::relu}, {x});
  classify(builder, x, classes);
  return builder.finish();
}

}  // namespace finch::search
