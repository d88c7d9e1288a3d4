// The folder of a campaign, or of another run with its own database, and the lock that keeps a second finch out of it.
// Movable; not thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <string>

#include "controller/error.hpp"

namespace finch::controller {

inline constexpr const char* kCampaignDatabase = "campaign.db";

class RunFolder {
 public:
  // Errors: holds a campaign already (says to resume it), holds other files, not writable, held by another finch.
  static std::expected<RunFolder, Error> create(const std::filesystem::path& path,
                                                const std::string& database = kCampaignDatabase);
  // Errors: no such run there, held by another finch.
  static std::expected<RunFolder, Error> open(const std::filesystem::path& path,
                                              const std::string& database = kCampaignDatabase);
  RunFolder(RunFolder&& other) noexcept;
  ~RunFolder();

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path database() const { return path_ / database_; }
  std::filesystem::path models() const { return path_ / "models"; }
  std::filesystem::path raw() const { return path_ / "raw"; }
  std::filesystem::path finish_request() const { return path_ / "finish"; }

 private:
  RunFolder(std::filesystem::path path, std::string database, int lock)
      : path_(std::move(path)), database_(std::move(database)), lock_(lock) {}
  static std::expected<RunFolder, Error> hold(const std::filesystem::path& path, const std::string& database);
  std::filesystem::path path_;
  std::string database_;
  int lock_ = -1;
};

}  // namespace finch::controller
