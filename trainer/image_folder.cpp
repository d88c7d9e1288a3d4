#include <algorithm>
#include <atomic>
#include <format>
#include <map>
#include <thread>

#include "protocol/artifact_store.hpp"
#include "trainer/dataset.hpp"
#include "trainer/image_file.hpp"

namespace finch::trainer {
namespace {

namespace fs = std::filesystem;

constexpr int kGreatestSide = 224;
constexpr std::int64_t kTestOneIn = 5;  // of each class, when there is no test folder

struct ImageFile {
  fs::path path;
  std::int32_t label = 0;
  ImageFacts facts = {};
  std::string hash = {};
  std::string problem = {};  // why it is not readable; empty: it is
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
      if (is_image(path)) files.push_back({.path = path, .label = static_cast<std::int32_t>(label)});
    }
  }
  if (files.empty()) return std::unexpected(Error{folder.string() + ": holds no .jpg, .jpeg or .png files"});
  return files;
}

// Calls work(i) for 0 <= i < count on all cores.
void for_each_index(std::size_t count, const auto& work) {
  std::atomic<std::size_t> next = 0;
  std::vector<std::jthread> threads;
  for (unsigned t = 0; t < std::max(1U, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back([&] {
      for (std::size_t i = next++; i < count; i = next++) work(i);
    });
  }
}

// Unreadable files are an error, or leave `files` and are named in `skipped`; a class must keep one.
std::expected<void, Error> settle(std::vector<ImageFile>& files, CorruptImages corrupt, RawDataset& dataset) {
  for (const ImageFile& file : files) {
    if (file.problem.empty()) continue;
    if (corrupt == CorruptImages::refuse) return std::unexpected(Error{file.problem});
    dataset.skipped.push_back(file.problem);
  }
  const std::vector<ImageFile> before = files;
  std::erase_if(files, [](const ImageFile& file) { return !file.problem.empty(); });
  for (const ImageFile& file : before) {
    if (!std::ranges::contains(files, file.label, &ImageFile::label)) {
      return std::unexpected(Error{file.problem + ": and no other image of its class can be read"});
    }
  }
  return {};
}

void look_at(std::vector<ImageFile>& files) {
  for_each_index(files.size(), [&](std::size_t i) {
    ImageFile& file = files[i];
    const auto facts = inspect_image(file.path);
    const auto hash = protocol::sha256_of_file(file.path);
    if (!facts) {
      file.problem = facts.error().message;
    } else if (!hash) {
      file.problem = hash.error().message;
    } else {
      file.facts = *facts;
      file.hash = *hash;
    }
  });
}

struct ImageSize {
  int width, height;
};

ImageSize size_for(const std::vector<ImageFile>& files) {
  std::map<std::pair<int, int>, std::size_t> counts;
  for (const ImageFile& file : files) ++counts[{file.facts.width, file.facts.height}];
  const auto [width, height] =
      std::ranges::max_element(counts, {}, [](const auto& entry) { return entry.second; })->first;
  const int side = std::min({width, height, kGreatestSide});
  return {side, side};
}

// What cannot be decoded is marked so, and has no part in the result.
ImageSplit load_split(std::vector<ImageFile>& files, ImageSize size, int channels) {
  ImageSplit split{.channels = channels, .height = size.height, .width = size.width, .pixels = {}, .labels = {}};
  const auto image_bytes = static_cast<std::size_t>(split.image_bytes());
  split.pixels.resize(files.size() * image_bytes);
  for_each_index(files.size(), [&](std::size_t i) {
    const auto pixels = load_image(files[i].path, size.width, size.height, channels);
    if (!pixels) {
      files[i].problem = pixels.error().message;
    } else {
      std::ranges::copy(*pixels, split.pixels.data() + i * image_bytes);
    }
  });
  std::size_t kept = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (!files[i].problem.empty()) continue;
    if (kept != i)
      std::copy_n(split.pixels.data() + i * image_bytes, image_bytes, split.pixels.data() + kept * image_bytes);
    split.labels.push_back(files[i].label);
    ++kept;
  }
  split.pixels.resize(kept * image_bytes);
  return split;
}

// A line an image, in the order of their paths.
std::string manifest(std::vector<ImageFile> files, const fs::path& folder) {
  std::ranges::sort(files, {}, &ImageFile::path);
  std::string lines;
  for (const ImageFile& file : files) {
    lines += std::format("{} {}\n", file.path.lexically_relative(folder).string(), file.hash);
  }
  return lines;
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

std::expected<RawDataset, Error> read_image_folder(const fs::path& folder, std::uint64_t seed, CorruptImages corrupt,
                                                   std::int64_t height, std::int64_t width) {
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
  look_at(*train);
  look_at(test);
  if (auto good = settle(*train, corrupt, dataset); !good) return std::unexpected(good.error());
  if (auto good = settle(test, corrupt, dataset); !good) return std::unexpected(good.error());

  const ImageSize size = height > 0 ? ImageSize{static_cast<int>(width), static_cast<int>(height)} : size_for(*train);
  const auto is_grey = [](const ImageFile& file) { return file.facts.channels <= 2; };
  const int channels = std::ranges::all_of(*train, is_grey) && std::ranges::all_of(test, is_grey) ? 1 : 3;
  const bool has_test = !test.empty();
  if (!has_test) test = split_off_test(*train, seed);
  if (train->empty()) {
    return std::unexpected(Error{folder.string() + ": one image a class is not enough to split a test set off"});
  }
  dataset.train = load_split(*train, size, channels);
  dataset.test = load_split(test, size, channels);
  if (auto good = settle(*train, corrupt, dataset); !good) return std::unexpected(good.error());
  if (auto good = settle(test, corrupt, dataset); !good) return std::unexpected(good.error());
  if (has_test) {
    dataset.data_hash = protocol::sha256_hex(manifest(*train, folder) + manifest(test, folder));
  } else {
    std::vector<ImageFile> all = *train;
    all.insert(all.end(), test.begin(), test.end());
    dataset.data_hash = protocol::sha256_hex(manifest(std::move(all), folder));
  }
  return dataset;
}

}  // namespace finch::trainer
