#include "trainer/image_set.hpp"

#include <format>

namespace finch::trainer {
namespace {

constexpr std::size_t kMostMessageBytes = std::size_t{2'000'000'000};  // Protobuf's limit is 2 GiB

}  // namespace

std::expected<protocol::ArtifactRef, Error> write_image_set(const std::vector<const ImageSplit*>& splits,
                                                            const std::vector<std::string>& class_names,
                                                            JobOutput& output) {
  const ImageSplit& first = *splits.front();
  protocol::ImageSet set;
  set.set_channels(first.channels);
  set.set_height(first.height);
  set.set_width(first.width);
  set.mutable_class_names()->Add(class_names.begin(), class_names.end());
  for (const ImageSplit* split : splits) {
    if (set.pixels().size() + split->pixels.size() > kMostMessageBytes) {
      return std::unexpected(
          Error{std::format("the images take more than {} bytes as pixels, which is the most that can be sent to a "
                            "device; use fewer or smaller ones",
                            kMostMessageBytes)});
    }
    set.mutable_pixels()->append(split->pixels.begin(), split->pixels.end());
    set.mutable_labels()->Add(split->labels.begin(), split->labels.end());
  }
  return output.write(set.SerializeAsString());
}

}  // namespace finch::trainer
