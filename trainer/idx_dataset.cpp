#include <algorithm>
#include <array>
#include <format>

#include "protocol/artifact_store.hpp"
#include "trainer/dataset.hpp"
#include "trainer/idx_reader.hpp"

namespace finch::trainer {
namespace {

namespace fs = std::filesystem;

// The training images' SHA-256, pixels alone, as Zalando Research published them in 2017.
constexpr const char* kFashionMnist = "2e487a6c89124f78f2d7521542223cafe96f7123c3ca13d447772ac6ecbb3012";
constexpr std::array kFashionClasses = {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                                        "Sandal",      "Shirt",   "Sneaker",  "Bag",   "Ankle boot"};

// "train-images-idx3-ubyte", as it is or compressed, with the dash or with the dot that some copies carry.
std::expected<fs::path, Error> find_file(const fs::path& folder, const std::string& stem, const std::string& kind) {
  for (const char* separator : {"-", "."}) {
    for (const char* ending : {"", ".gz"}) {
      const fs::path path = folder / (stem + separator + kind + "-ubyte" + ending);
      std::error_code ignored;
      if (fs::is_regular_file(path, ignored)) return path;
    }
  }
  return std::unexpected(
      Error{std::format("{}/{}-{}-ubyte: not there, neither plain nor .gz", folder.string(), stem, kind)});
}

struct Part {
  ImageSplit split;
  std::string images_hash, labels_hash;
};

std::expected<Part, Error> read_part(const fs::path& folder, const std::string& stem) {
  auto images_path = find_file(folder, stem + "-images", "idx3");
  if (!images_path) return std::unexpected(images_path.error());
  auto labels_path = find_file(folder, stem + "-labels", "idx1");
  if (!labels_path) return std::unexpected(labels_path.error());
  auto images = read_idx(*images_path);
  if (!images) return std::unexpected(images.error());
  auto labels = read_idx(*labels_path);
  if (!labels) return std::unexpected(labels.error());

  const auto& size = images->dimensions;
  if (size.size() < 3) {
    return std::unexpected(
        Error{std::format("{}: holds {} dimensions; images have 3 (count, height, width) or 4 "
                          "(count, channels, height, width)",
                          images_path->string(), size.size())});
  }
  if (labels->dimensions.size() != 1) {
    return std::unexpected(Error{
        std::format("{}: holds {} dimensions; labels have one", labels_path->string(), labels->dimensions.size())});
  }
  if (labels->dimensions[0] != size[0]) {
    return std::unexpected(Error{std::format("{} holds {} labels, but {} holds {} images", labels_path->string(),
                                             labels->dimensions[0], images_path->string(), size[0])});
  }
  if (images->bytes.empty()) return std::unexpected(Error{images_path->string() + ": holds no images"});
  Part part;
  part.images_hash = protocol::sha256_hex(std::as_bytes(std::span(images->bytes)));
  part.labels_hash = protocol::sha256_hex(std::as_bytes(std::span(labels->bytes)));
  part.split = {.channels = size.size() == 4 ? size[1] : 1,
                .height = size[size.size() - 2],
                .width = size[size.size() - 1],
                .pixels = std::move(images->bytes),
                .labels = {labels->bytes.begin(), labels->bytes.end()}};
  return part;
}

}  // namespace

std::expected<RawDataset, Error> read_idx_dataset(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    return std::unexpected(Error{folder.string() + ": no such folder; it should hold train-images-idx3-ubyte.gz and "
                                                   "the three files beside it"});
  }
  auto train = read_part(folder, "train");
  if (!train) return std::unexpected(train.error());
  auto test = read_part(folder, "t10k");
  if (!test) return std::unexpected(test.error());
  if (test->split.channels != train->split.channels || test->split.height != train->split.height ||
      test->split.width != train->split.width) {
    return std::unexpected(
        Error{std::format("{}: the test images are of another size than the training images", folder.string())});
  }
  RawDataset dataset;
  const std::int32_t classes = std::ranges::max(train->split.labels) + 1;
  if (std::ranges::max(test->split.labels) >= classes) {
    return std::unexpected(Error{std::format("{}: the test labels name class {}, but the training labels end at {}",
                                             folder.string(), std::ranges::max(test->split.labels), classes - 1)});
  }
  const bool fashion = train->images_hash == kFashionMnist;
  for (std::int32_t i = 0; i < classes; ++i) {
    dataset.class_names.push_back(fashion ? kFashionClasses[static_cast<std::size_t>(i)] : std::to_string(i));
  }
  dataset.data_hash = protocol::sha256_hex(
      std::format("{}\n{}\n{}\n{}\n", train->images_hash, train->labels_hash, test->images_hash, test->labels_hash));
  dataset.train = std::move(train->split);
  dataset.test = std::move(test->split);
  return dataset;
}

}  // namespace finch::trainer
