#include "agent/engine_cache.hpp"

#include <stdlib.h>

#include <algorithm>
#include <chrono>
#include <format>
#include <map>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "protocol/artifact_store.hpp"
#include "protocol/durable_file.hpp"

namespace finch::agent {
namespace fs = std::filesystem;
namespace {

// In an entry's folder: what the runtime wrote, and what it was when it was whole.
constexpr const char* kEngine = "engine";
constexpr const char* kManifest = "manifest";
constexpr std::string_view kUnfinished = "building-";

// A line for each file: its SHA-256 and where it lies. Nothing: something cannot be read.
std::optional<std::string> manifest_of(const fs::path& engine) {
  std::map<std::string, std::string> hashes;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(engine, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->is_directory(error)) continue;
    auto hash = protocol::sha256_of_file(entry->path());
    if (!hash) return std::nullopt;
    hashes[entry->path().lexically_relative(engine).string()] = std::move(*hash);
  }
  if (error) return std::nullopt;
  std::string text;
  for (const auto& [name, hash] : hashes) text += std::format("{} {}\n", hash, name);
  return text;
}

bool is_whole(const fs::path& entry) {
  const auto noted = protocol::read_whole_file(entry / kManifest);
  return noted && manifest_of(entry / kEngine) == *noted;
}

std::int64_t bytes_below(const fs::path& folder) {
  std::int64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->is_regular_file(error)) bytes += static_cast<std::int64_t>(entry->file_size(error));
  }
  return bytes;
}

// Of builds that were killed. REQUIRES: nobody builds.
void remove_unfinished(const fs::path& root) {
  std::error_code error;
  std::vector<fs::path> left;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    if (entry.path().filename().string().starts_with(kUnfinished)) left.push_back(entry.path());
  }
  for (const fs::path& folder : left) fs::remove_all(folder, error);
}

// A new folder that goes away again unless it was given another name.
class UnfinishedEntry {
 public:
  explicit UnfinishedEntry(const fs::path& root) {
    std::string name = (root / (std::string(kUnfinished) + "XXXXXX")).string();
    std::error_code error;
    if (mkdtemp(name.data()) != nullptr && fs::create_directory(fs::path(name) / kEngine, error)) path_ = name;
  }
  ~UnfinishedEntry() {
    std::error_code error;
    if (!path_.empty()) fs::remove_all(path_, error);
  }
  UnfinishedEntry(const UnfinishedEntry&) = delete;
  UnfinishedEntry& operator=(const UnfinishedEntry&) = delete;

  const fs::path& path() const { return path_; }  // empty: it could not be made

 private:
  fs::path path_;
};

}  // namespace

std::string engine_key(const EngineIdentity& identity) {
  std::string text;
  // With their sizes, so that nothing moves from one into the next unnoticed.
  for (const std::string* part : {&identity.model_sha256, &identity.runtime, &identity.runtime_version,
                                  &identity.builder, &identity.processor, &identity.power_mode, &identity.deploy}) {
    text += std::format("{}:{}", part->size(), *part);
  }
  return protocol::sha256_hex(text);
}

std::expected<EngineCache::Kept, Error> EngineCache::obtain(const std::string& key, const Build& build,
                                                            const std::stop_token& stop) const {
  constexpr std::chrono::hours kPatience{2};
  const auto failed = [&](const std::string& why) {
    return std::unexpected(Error{std::format("cannot keep an engine in {}: {}", root_.string(), why), true});
  };
  if (auto made = protocol::make_folder(root_); !made) return failed(made.error().message);
  const auto lock = protocol::FileLock::try_for(root_ / "lock", kPatience, stop);
  if (stop.stop_requested()) return std::unexpected(Error{"stopped", true});
  if (!lock) return failed(lock.error().message);
  if (!*lock) return failed("another process has been building there for hours");
  remove_unfinished(root_);

  const fs::path entry = root_ / key;
  std::error_code error;
  if (is_whole(entry)) {
    fs::last_write_time(entry / kManifest, fs::file_time_type::clock::now(), error);  // as used last
    return Kept{entry / kEngine};
  }
  fs::remove_all(entry, error);
  const UnfinishedEntry made(root_);
  if (made.path().empty()) return failed("no folder can be made there");
  if (auto built = build(made.path() / kEngine); !built) return std::unexpected(built.error());
  const auto manifest = manifest_of(made.path() / kEngine);
  if (!manifest) return failed("what was built cannot be read");
  if (manifest->empty()) return failed("the runtime has written none");
  if (auto written = protocol::write_durably(made.path() / kManifest, *manifest, 0600); !written)
    return failed(written.error().message);
  fs::rename(made.path(), entry, error);
  if (error) return failed(error.message());
  make_room(key);
  return Kept{.folder = entry / kEngine, .built = true};
}

void EngineCache::make_room(const std::string& but) const {
  struct Entry {
    fs::path folder;
    fs::file_time_type used;
    std::int64_t bytes;
  };
  std::vector<Entry> entries;
  std::int64_t all = 0;
  std::error_code error;
  for (const auto& found : fs::directory_iterator(root_, error)) {
    if (!protocol::is_sha256(found.path().filename().string())) continue;
    const std::int64_t bytes = bytes_below(found.path());
    all += bytes;
    if (found.path().filename() != but)
      entries.push_back({found.path(), fs::last_write_time(found.path() / kManifest, error), bytes});
  }
  std::ranges::sort(entries, {}, &Entry::used);
  for (const Entry& entry : entries) {
    if (all <= most_bytes_) return;
    fs::remove_all(entry.folder, error);
    all -= entry.bytes;
  }
}

}  // namespace finch::agent
