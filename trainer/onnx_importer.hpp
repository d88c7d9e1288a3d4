// The conversion behind import_onnx(): one method a family of operators. Not thread safe.
#pragma once

#include <set>
#include <variant>

#include "trainer/onnx_import.hpp"
#include "trainer/onnx_reading.hpp"

namespace finch::trainer {

class OnnxImporter {
 public:
  OnnxImporter(OnnxReading& reading, const search::TensorShape& image) : reading_(reading), builder_(image) {}

  std::expected<ImportedNetwork, Error> run(const std::optional<Normalization>& normalization);

 private:
  // The image as it is, or times a factor plus an offset a channel, as far as the operators have come.
  struct Image {
    std::vector<float> factor, offset;
  };
  // A node's output [N, C, H, W]; flat: as [N, C * H * W].
  struct Tensor {
    std::int32_t node = 0;
    bool flat = false;
  };
  // On the way through a channel shuffle: [N, groups, C / groups, H, W], or with the two transposed.
  struct Groups {
    std::int32_t node = 0;
    std::int64_t groups = 1;
    bool transposed = false;
  };
  using Value = std::variant<Image, Tensor, Groups>;
  using Step = std::expected<void, Error>;
  using Read = std::expected<Tensor, Error>;

  Step convert(const onnx::NodeProto& node);
  bool fold_constant(const onnx::NodeProto& node);  // integers that only shapes are made of
  Step convolution(const onnx::NodeProto& node);
  void batch_norm(const onnx::NodeProto& node, const std::string& name, search::Convolution& operation);
  Step fully_connected(const onnx::NodeProto& node);
  Step activation(const onnx::NodeProto& node);
  Step gated(const onnx::NodeProto& node, search::ActivationKind plain, search::ActivationKind product);
  Step arithmetic(const onnx::NodeProto& node);
  Step scale_image(const onnx::NodeProto& node, Image image, const OnnxConstant& constant);
  Step concat(const onnx::NodeProto& node);
  Step split(const onnx::NodeProto& node);
  Step slice(const onnx::NodeProto& node);
  Step average_pool(const onnx::NodeProto& node);
  Step mean(const onnx::NodeProto& node);
  Step reshape(const onnx::NodeProto& node);
  Step transpose(const onnx::NodeProto& node);
  Step resize(const onnx::NodeProto& node);
  Step pass_on(const onnx::NodeProto& node);

  // A node's input as a tensor of the network; a pending normalisation of the image becomes a node.
  Read read(const onnx::NodeProto& node, int input);
  Read read_maps(const onnx::NodeProto& node, int input);  // refuses a flat one
  std::expected<const OnnxConstant*, Error> read_constant(const onnx::NodeProto& node, int input) const;
  // An operator's setting that is an attribute in old operator sets, an input in new ones; empty: neither.
  std::vector<std::int64_t> setting(const onnx::NodeProto& node, const char* name, int input) const;
  std::int32_t add(const std::string& name, search::Operation operation, std::vector<std::int32_t> inputs);
  void give(const onnx::NodeProto& node, Value value) { values_[node.output(0)] = std::move(value); }
  std::string name_of(const onnx::NodeProto& node, int weight_input = -1);
  std::unexpected<Error> refuse(const onnx::NodeProto& node, const std::string& why) const;

  OnnxReading& reading_;
  search::NetworkBuilder builder_;
  ImportedNetwork imported_;
  std::map<std::string, Value> values_;        // by edge
  std::set<const onnx::NodeProto*> absorbed_;  // part of an operation that was made already
  std::set<std::string> names_ = {"image"};
};

}  // namespace finch::trainer
