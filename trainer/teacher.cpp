#include "trainer/teacher.hpp"

#include <format>
#include <cstdlib>

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
    x_ = builder_.add(name,
                      ir::Convolution{.out_channels = channels,
                                      .kernel_size = kernel_size,
                                      .stride = stride,
                                      .padding = kernel_size / 2},
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

  std::int64_t height() const { return builder_.shape(x_).height; }

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
  auto E = [](const char* n, int d) { const char* v = getenv(n); return v ? atoi(v) : d; };
  Builder builder(image);
  builder.convolution("stem", E("T0", 32), E("TK", 5), 2, true);
  for (int i = 0; i < E("TB0", 0); ++i) builder.residual_block(std::format("stage0.block{}", i));
  builder.convolution("stage1.down", E("T1", 64), 3, E("TS1", 1), true);
  for (int i = 0; i < E("TB1", 1); ++i) builder.residual_block(std::format("stage1.block{}", i));
  builder.convolution("stage2.down", E("T2", 128), 3, 2, true);
  for (int i = 0; i < E("TB2", 1); ++i) builder.residual_block(std::format("stage2.block{}", i));
  return builder.finish(classes);
}

}  // namespace finch::trainer
