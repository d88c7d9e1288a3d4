#include <stb_image.h>

#include <algorithm>
#include <atomic>
#include <format>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "protocol/artifact_store.hpp"
#include "trainer/dataset.hpp"
#include "trainer/image_resize.hpp"

namespace finch::trainer {
namespace {

namespace fs = std::filesystem;

constexpr int kGreatestSide = 224;
constexpr std::int64_t kTestOneIn = 5;  // of each class, when there is no test folder

struct ImageFile {
  fs::path path;
  std::int32_t label = 0;
  int width = 0, height = 0, channels = 0;
  std::string hash;
};

std::vector<fs::path> sorted_entries(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (!entry.path().filename().string().starts_with('.')) paths.push_back(entry.path());
  }
  std::ranges::sort(paths);
  return paths;
}

bool is_image(const fs::path& path) {
  std::string ending = path.extension().string();
  std::ranges::transform(ending, ending.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return ending == ".png" || ending == ".jpg" || ending == ".jpeg";
}

std::vector<std::string> class_folders(const fs::path& folder) {
  std::vector<std::string> names;
  for (const fs::path& path : sorted_entries(folder)) {
    if (fs::is_directory(path)) names.push_back(path.filename().string());
  }
  return names;
}

std::expected<std::vector<ImageFile>, Error> list_images(const fs::path& folder,
                                                         const std::vector<std::string>& classes) {
  for (const std::string& name : class_folders(folder)) {
    if (!std::ranges::contains(classes, name)) {
      return std::unexpected(
          Error{std::format("{}: the class '{}' has no folder among the training images", folder.string(), name)});
    }
  }
  std::vector<ImageFile> files;
  for (std::size_t label = 0; label < classes.size(); ++label) {
    for (const fs::path& path : sorted_entries(folder / classes[label])) {
      if (is_image(path)) files.push_back({.path = path, .label = static_cast<std::int32_t>(label), .hash = {}});
    }
  }
  if (files.empty()) return std::unexpected(Error{folder.string() + ": holds no .jpg, .jpeg or .png files"});
  return files;
}

// Calls work(i) for 0 <= i < count on all cores; gives the first error.
template <typename Work>
std::optional<Error> for_each_index(std::size_t count, const Work& work) {
  std::atomic<std::size_t> next = 0;
  std::mutex mutex;
  std::optional<Error> error;
  {
    std::vector<std::jthread> threads;
    for (unsigned t = 0; t < std::max(1U, std::thread::hardware_concurrency()); ++t) {
      threads.emplace_back([&] {
        for (std::size_t i = next++; i < count; i = next++) {
          if (std::optional<Error> failed = work(i)) {
            const std::scoped_lock lock(mutex);
            if (!error) error = std::move(failed);
            next = count;
          }
        }
      });
    }
  }
  return error;
}

Error unreadable(const fs::path& path) {
  return {path.string() + ": not a readable JPEG or PNG image; repair or remove it"};
}

std::optional<Error> look_at(std::vector<ImageFile>& files) {
  return for_each_index(files.size(), [&](std::size_t i) -> std::optional<Error> {
    ImageFile& file = files[i];
    if (stbi_info(file.path.c_str(), &file.width, &file.height, &file.channels) == 0) return unreadable(file.path);
    auto hash = protocol::sha256_of_file(file.path);
    if (!hash) return Error{hash.error().message};
    file.hash = std::move(*hash);
    return std::nullopt;
  });
}

struct ImageSize {
  int width, height;
};

ImageSize size_for(const std::vector<ImageFile>& files) {
  std::map<std::pair<int, int>, std::size_t> counts;
  for (const ImageFile& file : files) ++counts[{file.width, file.height}];
  const auto [width, height] =
      std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; })->first;
  const int side = std::min({width, height, kGreatestSide});
  return {side, side};
}

std::expected<ImageSplit, Error> load_split(const std::vector<ImageFile>& files, ImageSize size, int channels) {
  ImageSplit split{.channels = channels, .height = size.height, .width = size.width, .pixels = {}, .labels = {}};
  for (const ImageFile& file : files) split.labels.push_back(file.label);
  split.pixels.resize(files.size() * static_cast<std::size_t>(split.image_bytes()));
  const auto area = static_cast<std::size_t>(size.width) * static_cast<std::size_t>(size.height);
  const auto depth = static_cast<std::size_t>(channels);
  const auto error = for_each_index(files.size(), [&](std::size_t i) -> std::optional<Error> {
    int width = 0, height = 0, in_file = 0;
    const std::unique_ptr<stbi_uc, void (*)(void*)> loaded(
        stbi_load(files[i].path.c_str(), &width, &height, &in_file, channels), stbi_image_free);
    if (!loaded) return unreadable(files[i].path);
    std::vector<std::uint8_t> resized;
    const std::uint8_t* pixels = loaded.get();
    if (width != size.width || height != size.height) {
      resized.resize(area * depth);
      if (!resize_image(pixels, width, height, resized.data(), size.width, size.height, channels)) {
        return unreadable(files[i].path);
      }
      pixels = resized.data();
    }
    std::uint8_t* out = split.pixels.data() + i * area * depth;
    for (std::size_t c = 0; c < depth; ++c) {
      for (std::size_t p = 0; p < area; ++p) *out++ = pixels[p * depth + c];
    }
    return std::nullopt;
  });
  if (error) return std::unexpected(*error);
  return split;
}

// Moves a fifth of each class, at least one image, from `train` to the result.
std::vector<ImageFile> split_off_test(std::vector<ImageFile>& train, std::uint64_t seed) {
  std::vector<ImageFile> test, rest;
  for (auto begin = train.begin(); begin != train.end();) {
    const auto end = std::find_if(begin, train.end(), [&](const ImageFile& f) { return f.label != begin->label; });
    const auto order = shuffled_indices(end - begin, seed);
    const std::int64_t take = std::max<std::int64_t>(1, std::ssize(order) / kTestOneIn);
    for (std::int64_t i = 0; i < std::ssize(order); ++i) {
      (i < take ? test : rest).push_back(begin[order[static_cast<std::size_t>(i)]]);
    }
    begin = end;
  }
  train = std::move(rest);
  return test;
}

}  // namespace

std::expected<RawDataset, Error> read_image_folder(const fs::path& folder, std::uint64_t seed) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) {
    return std::unexpected(Error{folder.string() + ": no such folder; it should hold one folder of images a class"});
  }
  const bool has_train = fs::is_directory(folder / "train", ignored);
  const fs::path train_folder = has_train ? folder / "train" : folder;
  RawDataset dataset;
  dataset.class_names = class_folders(train_folder);
  if (dataset.class_names.size() < 2) {
    return std::unexpected(Error{std::format("{}: holds {} class folders; at least 2 are needed, each with its images",
                                             train_folder.string(), dataset.class_names.size())});
  }
  auto train = list_images(train_folder, dataset.class_names);
  if (!train) return std::unexpected(train.error());
  std::vector<ImageFile> test;
  if (has_train) {
    const auto is_there = [&](const char* name) { return fs::is_directory(folder / name, ignored); };
    static constexpr const char* kTestFolders[] = {"test", "val", "valid", "validation"};
    const auto* const name = std::ranges::find_if(kTestFolders, is_there);
    if (name != std::end(kTestFolders)) {
      auto listed = list_images(folder / *name, dataset.class_names);
      if (!listed) return std::unexpected(listed.error());
      test = std::move(*listed);
    }
  }
  if (auto error = look_at(*train)) return std::unexpected(*error);
  if (auto error = look_at(test)) return std::unexpected(*error);

  const ImageSize size = size_for(*train);
  const auto is_grey = [](const ImageFile& file) { return file.channels <= 2; };
  const int channels = std::ranges::all_of(*train, is_grey) && std::ranges::all_of(test, is_grey) ? 1 : 3;
  std::string manifest;
  for (const auto* files : {&*train, &test}) {
    for (const ImageFile& file : *files) {
      manifest += std::format("{} {}\n", file.path.lexically_relative(folder).string(), file.hash);
    }
  }
  dataset.data_hash = protocol::sha256_hex(manifest);

  if (test.empty()) test = split_off_test(*train, seed);
  if (train->empty()) {
    return std::unexpected(Error{folder.string() + ": one image a class is not enough to split a test set off"});
  }
  auto train_split = load_split(*train, size, channels);
  if (!train_split) return std::unexpected(train_split.error());
  auto test_split = load_split(test, size, channels);
  if (!test_split) return std::unexpected(test_split.error());
  dataset.train = std::move(*train_split);
  dataset.test = std::move(*test_split);
  return dataset;
}

}  // namespace finch::trainer
