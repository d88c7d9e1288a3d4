// Engines, which is what a runtime compiles of a model ahead of its first run, kept on the disk: a folder for each,
// whole or not there, bounded in size. Thread safe, and several processes may use one folder: they take turns.
#pragma once

#include <cstdint>
#include <expected>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>

#include "agent/error.hpp"

namespace finch::agent {

// All that an engine depends on.
struct EngineIdentity {
  std::string model_sha256{};     // and of weights in files of their own
  std::string runtime{};          // "onnxruntime"
  std::string runtime_version{};  // "1.22.0"
  std::string builder{};          // "TensorRT 10.3.0"; empty: the runtime compiles by itself
  std::string processor{};        // the GPU, or the board that it is a part of
  std::string power_mode{};       // of nvpmodel: kernels are chosen by their times in it; empty: there is none
  std::string deploy{};           // provider, threads, batch and shapes
};

// 64 hex digits: SHA-256 over everything in it.
std::string engine_key(const EngineIdentity& identity);

class EngineCache {
 public:
  static constexpr std::int64_t kMostBytes = std::int64_t{2} << 30U;

  explicit EngineCache(std::filesystem::path root, std::int64_t most_bytes = kMostBytes)
      : root_(std::move(root)), most_bytes_(most_bytes) {}

  // Makes an engine in an empty folder.
  using Build = std::function<std::expected<void, Error>(const std::filesystem::path& folder)>;
  struct Kept {
    std::filesystem::path folder;
    bool built = false;  // now; else it was there
  };
  // The engine of this key. One that is not there, or not as it was built (a file lost, another or altered), is built;
  // it appears when it is whole, so that a kill leaves nothing that counts. Then those that were used longest ago go
  // until all together are within `most_bytes`, but this one stays. Blocks while another process builds.
  // Errors: as of `build`; it left nothing in the folder; the disk; stopped (retryable).
  std::expected<Kept, Error> obtain(const std::string& key, const Build& build, const std::stop_token& stop) const;

 private:
  void make_room(const std::string& but) const;

  std::filesystem::path root_;
  std::int64_t most_bytes_;
};

}  // namespace finch::agent
