#include "search/image_task.hpp"

#include <algorithm>

namespace finch::search {

std::expected<void, Error> check_task(std::string_view space, const SpaceConfig& config, std::int64_t smallest) {
  const TensorShape& image = config.image;
  if (image.height != image.width || image.height < smallest || image.height > 512 || image.channels < 1) {
    return std::unexpected(
        Error{std::format("the space {} serves square images of {} to 512 pixels, not {} x {} with {} channels", space,
                          smallest, image.height, image.width, image.channels)});
  }
  if (config.classes < 2) return std::unexpected(Error{"a classifier needs at least 2 classes"});
  return {};
}

std::size_t preset_for(const TensorShape& image) {
  return image.height > 64 ? 2 : image.height >= 32 ? 1 : 0;
}

std::vector<std::int64_t> scaled_resolutions(std::span<const std::int64_t> resolutions, std::int64_t designed_for,
                                             std::int64_t size) {
  std::vector<std::int64_t> scaled(resolutions.begin(), resolutions.end());
  for (std::int64_t& resolution : scaled) resolution = std::max<std::int64_t>(8, resolution * size / designed_for);
  return scaled;
}

std::int32_t prepared_image(NetworkBuilder& builder, std::int64_t resolution) {
  const std::int32_t x = builder.add("normalize", Normalize{}, {0});
  if (resolution == builder.shape(x).height && resolution == builder.shape(x).width) return x;
  return builder.add("resize", Resize{resolution, resolution}, {x});
}

}  // namespace finch::search
