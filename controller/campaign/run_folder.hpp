// A campaign's folder and the lock that keeps a second finch out of it. Movable; not thread safe.
#pragma once

#include <expected>
#include <filesystem>

#include "controller/error.hpp"

namespace finch::controller {

class RunFolder {
 public:
  // Errors: holds a campaign already (says to resume it), holds other files, not writable, held by another finch.
  static std::expected<RunFolder, Error> create(const std::filesystem::path& path);
  // Errors: no campaign there, held by another finch.
  static std::expected<RunFolder, Error> open(const std::filesystem::path& path);
  RunFolder(RunFolder&& other) noexcept;
  ~RunFolder();

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path database() const { return path_ / "campaign.db"; }
  std::filesystem::path models() const { return path_ / "models"; }
  std::filesystem::path raw() const { return path_ / "raw"; }
  std::filesystem::path finish_request() const { return path_ / "finish"; }

 private:
  RunFolder(std::filesystem::path path, int lock) : path_(std::move(path)), lock_(lock) {}
  static std::expected<RunFolder, Error> hold(const std::filesystem::path& path);
  std::filesystem::path path_;
  int lock_ = -1;
};

}  // namespace finch::controller
