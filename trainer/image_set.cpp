#include "trainer/image_set.hpp"

#include <format>

namespace finch::trainer {
namespace {

constexpr std::size_t kMostMessageBytes = std::size_t{2'000'000'000};  // Protobuf's limit is 2 GiB

}  // namespace

std::expected<protocol::ArtifactRef, Error> write_image_set(const ImageSplit& split,
                                                            const std::vector<std::string>& class_names,
                                                            JobOutput& output) {
  if (split.pixels.size() > kMostMessageBytes) {
    return std::unexpected(
        Error{std::format("the test images take {} bytes as pixels; at most {} can be sent to a "
                          "device, use fewer or smaller ones",
                          split.pixels.size(), kMostMessageBytes)});
  }
  protocol::ImageSet set;
  set.set_channels(split.channels);
  set.set_height(split.height);
  set.set_width(split.width);
  set.mutable_class_names()->Add(class_names.begin(), class_names.end());
  set.set_pixels(split.pixels.data(), split.pixels.size());
  set.mutable_labels()->Add(split.labels.begin(), split.labels.end());
  return output.write(set.SerializeAsString());
}

}  // namespace finch::trainer
