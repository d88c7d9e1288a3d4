// The network IR: a typed graph with inferred shapes, from which the cost model, the LibTorch module and the ONNX file
// are made. A plain value without hidden state; concurrent reads are safe.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <variant>
#include <vector>

#include "search/error.hpp"

namespace finch::search {

// One image's tensor, without the batch dimension: [channels, height, width]. A vector is [features, 1, 1].
struct TensorShape {
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;

  std::int64_t elements() const { return channels * height * width; }
  bool operator==(const TensorShape&) const = default;
};

enum class ActivationKind { relu, relu6, hard_swish, hard_sigmoid, sigmoid, silu };

// The image as deployed, float32 in [0, 1]; the first node of every network.
struct Input {
  TensorShape shape;
};
// (x - mean) / stddev per channel. The values belong to the data set, not to the architecture: trainer and exporter
// fill them in.
struct Normalize {};
// Bilinear, half-pixel centres, no antialiasing (ONNX Resize "linear"/"half_pixel"; torch interpolate
// align_corners=false).
struct Resize {
  std::int64_t height = 0;
  std::int64_t width = 0;
};
// Square kernel, symmetric zero padding. With batch_norm it is Conv+BatchNorm, folded into one on export.
struct Convolution {
  std::int64_t out_channels = 0;
  std::int64_t kernel_size = 1;
  std::int64_t stride = 1;
  std::int64_t padding = 0;
  std::int64_t groups = 1;
  bool bias = false;
  bool batch_norm = true;
};
struct Activation {
  ActivationKind kind = ActivationKind::relu;
};
// Elementwise sum of two inputs of one shape.
struct Add {};
// inputs[0] [C, H, W] times inputs[1] [C, 1, 1], broadcast: the squeeze-and-excitation gate.
struct Scale {};
// Channels begin .. begin + count - 1 of the input.
struct ChannelSlice {
  std::int64_t begin = 0;
  std::int64_t count = 0;
};
// Two or more inputs of one height and width, one behind the other along the channels.
struct Concat {};
// The channels seen as a matrix [groups, C / groups], transposed: channel g * (C / groups) + i becomes i * groups + g
// (Zhang 2018, ShuffleNet).
struct ChannelShuffle {
  std::int64_t groups = 2;
};
// Mean over a square window. Padding is not part of the mean (ONNX count_include_pad = 0). REQUIRES: every window holds
// at least one pixel, padding < kernel_size.
struct AveragePool {
  std::int64_t kernel_size = 1;
  std::int64_t stride = 1;
  std::int64_t padding = 0;
};
// [C, H, W] -> [C, 1, 1], mean.
struct GlobalAveragePool {};
// Fully connected with bias, [C, 1, 1] -> [out_features, 1, 1].
struct Linear {
  std::int64_t out_features = 0;
};

using Operation = std::variant<Input, Normalize, Resize, Convolution, Activation, Add, Scale, ChannelSlice, Concat,
                               ChannelShuffle, AveragePool, GlobalAveragePool, Linear>;

struct Node {
  // Unique and stable across genotypes ("stage2.block1.expand"): a child inherits its parent's weights by name and
  // shape.
  std::string name;
  Operation operation;
  std::vector<std::int32_t> inputs;  // indices of earlier nodes
  TensorShape shape;                 // of the output, inferred
};

// Nodes in topological order; nodes.front() is the Input, nodes.back() gives the logits [classes, 1, 1].
struct Network {
  std::vector<Node> nodes;

  const TensorShape& input_shape() const { return nodes.front().shape; }
  const TensorShape& output_shape() const { return nodes.back().shape; }
};

// Builds a network node by node, inferring and checking shapes; the first error is kept and returned by finish().
// Node 0 is the Input, named "image". Not thread safe.
class NetworkBuilder {
 public:
  explicit NetworkBuilder(TensorShape input);

  // Appends a node and returns its index. After an error it returns the last valid index and does nothing.
  std::int32_t add(std::string name, Operation operation, std::vector<std::int32_t> inputs);
  const TensorShape& shape(std::int32_t node) const;

  // Errors besides add()'s: a name that is empty or taken, a node that nothing reads, an output with height or width.
  // REQUIRES: called once, last.
  std::expected<Network, Error> finish();

 private:
  Network network_;
  std::string error_;
};

const char* to_string(ActivationKind kind);
// "convolution", "add", ...: the operation's name in messages and reports.
const char* operation_name(const Operation& operation);

}  // namespace finch::search
