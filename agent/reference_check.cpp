#include "agent/reference_check.hpp"

#include <array>
#include <cmath>
#include <cstdint>
#include <format>
#include <vector>

#include "agent/reference_network.hpp"

namespace finch::agent {
namespace {

constexpr std::size_t kChannels = 3;
constexpr std::size_t kPixels = 32 * 32;
// Of ONNX Runtime 1.21; OpenVINO 2026.4 and LiteRT 2.3 give the same to 5e-6.
constexpr std::array<float, 10> kLogits = {1.0291278F,  -2.0012474F, 6.7953639F,  -4.7060871F, -3.2075803F,
                                           -6.2377811F, -1.3981501F, -1.9233780F, -0.4943265F, -3.6138332F};
constexpr float kTolerance = 0.05F * 6.7953639F;

// The same picture for either order of the axes, in [0, 1].
std::vector<float> picture(bool channels_last) {
  std::vector<float> values(kChannels * kPixels);
  for (std::size_t channel = 0; channel < kChannels; ++channel) {
    for (std::size_t pixel = 0; pixel < kPixels; ++pixel) {
      const std::size_t at = channels_last ? pixel * kChannels + channel : channel * kPixels + pixel;
      values[at] = static_cast<float>((channel * kPixels + pixel) * 37 % 256) / 255.0F;
    }
  }
  return values;
}

}  // namespace

std::expected<void, Error> check_reference_network(InferenceBackend& backend) {
  const auto failed = [](const std::string& why) { return std::unexpected(Error{"the reference network: " + why}); };
  const bool channels_last = backend.format() == "tflite";
  auto session = backend.load(reference_network(backend.format()), SessionSettings{});
  if (!session) return failed(session.error().message);
  std::vector<float> image = picture(channels_last);
  const std::vector<std::int64_t> shape =
      channels_last ? std::vector<std::int64_t>{1, 32, 32, 3} : std::vector<std::int64_t>{1, 3, 32, 32};
  if (auto bound = (*session)->bind(0, shape, std::as_writable_bytes(std::span(image))); !bound) {
    return failed(bound.error().message);
  }
  if (auto ran = (*session)->run(); !ran) return failed(ran.error().message);
  const auto output = (*session)->output(0);
  if (!output) return failed(output.error().message);
  if (output->values.size() != kLogits.size()) return failed(std::format("{} logits", output->values.size()));
  for (std::size_t i = 0; i < kLogits.size(); ++i) {
    if (std::abs(output->values[i] - kLogits[i]) <= kTolerance) continue;  // a NaN is not
    return failed(std::format("this build computes it wrongly: logit {} is {:.4f}, not {:.4f}; use another build", i,
                              output->values[i], kLogits[i]));
  }
  return {};
}

}  // namespace finch::agent
