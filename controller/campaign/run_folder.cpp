#include "controller/campaign/run_folder.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <format>
#include <utility>

namespace finch::controller {

namespace {

// Empty, or left behind by a finch that was killed before its campaign began.
bool unused(const std::filesystem::path& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return false;
  return std::ranges::all_of(std::filesystem::directory_iterator(path, error), [](const auto& entry) {
    const auto name = entry.path().filename();
    return name == ".lock" || ((name == "models" || name == "raw") && std::filesystem::is_empty(entry.path()));
  });
}

}  // namespace

RunFolder::RunFolder(RunFolder&& other) noexcept
    : path_(std::move(other.path_)), database_(std::move(other.database_)), lock_(std::exchange(other.lock_, -1)) {}

RunFolder::~RunFolder() {
  if (lock_ >= 0) ::close(lock_);
}

std::expected<RunFolder, Error> RunFolder::hold(const std::filesystem::path& path, const std::string& database) {
  const int lock = ::open((path / ".lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock < 0) return std::unexpected(Error{std::format("{}: cannot write: {}", path.string(), std::strerror(errno))});
  if (::flock(lock, LOCK_EX | LOCK_NB) != 0) {
    ::close(lock);
    return std::unexpected(
        Error{std::format("{}: another finch works on this run folder; wait for it or stop it first", path.string())});
  }
  RunFolder folder(path, database, lock);
  std::error_code error;
  std::filesystem::create_directories(folder.models(), error);
  std::filesystem::create_directories(folder.raw(), error);
  return folder;
}

std::expected<RunFolder, Error> RunFolder::create(const std::filesystem::path& path, const std::string& database) {
  std::error_code error;
  if (std::filesystem::exists(path / database)) {
    return std::unexpected(
        Error{std::format(
                  "{0}: a run is here already; go on with it: finch resume {0}, or choose another folder with --output",
                  path.string()),
              ExitCode::usage});
  }
  if (std::filesystem::exists(path, error) && !unused(path)) {
    return std::unexpected(
        Error{std::format("{}: not an empty folder; choose another with --output", path.string()), ExitCode::usage});
  }
  std::filesystem::create_directories(path, error);
  if (error) return std::unexpected(Error{std::format("{}: cannot create: {}", path.string(), error.message())});
  return hold(path, database);
}

std::expected<RunFolder, Error> RunFolder::open(const std::filesystem::path& path, const std::string& database) {
  if (!std::filesystem::exists(path / database)) {
    return std::unexpected(
        Error{std::format("{}: no campaign here ({} is missing)", path.string(), database), ExitCode::usage});
  }
  return hold(path, database);
}

}  // namespace finch::controller
