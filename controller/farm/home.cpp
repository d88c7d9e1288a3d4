#include "controller/farm/home.hpp"

#include <unistd.h>

#include <cstdlib>
#include <format>

namespace finch::controller {
namespace {

std::filesystem::path variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

std::expected<std::filesystem::path, Error> home_root() {
  if (auto home = variable("FINCH_HOME"); !home.empty()) return home;
  // The XDG specification has relative paths ignored.
  if (auto state = variable("XDG_STATE_HOME"); state.is_absolute()) return state / "finch";
  if (auto home = variable("HOME"); !home.empty()) return home / ".local" / "state" / "finch";
  return std::unexpected(
      Error{"neither $FINCH_HOME nor $HOME is set; set FINCH_HOME to a folder of yours", ExitCode::usage});
}

}  // namespace

std::expected<Home, Error> open_home() {
  auto root = home_root();
  if (!root) return std::unexpected(root.error());
  std::error_code error;
  Home home{std::filesystem::absolute(*root, error)};
  const auto refuse = [&](const std::filesystem::path& folder, const std::string& why) {
    return std::unexpected(
        Error{std::format("the Finch home {} cannot be used ({}: {}); set $FINCH_HOME to a folder "
                          "you may write to",
                          home.root.string(), folder.string(), why)});
  };
  if (error) return refuse(*root, error.message());
  for (const auto& folder : {home.root, home.artifacts(), home.workers(), home.logs()}) {
    const bool created = std::filesystem::create_directories(folder, error);
    if (error) return refuse(folder, error.message());
    // Keys and the user's data lie below.
    if (created) std::filesystem::permissions(folder, std::filesystem::perms::owner_all, error);
    if (error) return refuse(folder, error.message());
    if (::access(folder.c_str(), R_OK | W_OK | X_OK) != 0) {
      return refuse(folder, std::error_code(errno, std::generic_category()).message());
    }
  }
  return home;
}

std::filesystem::path program_folder() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  return error ? std::filesystem::current_path() : program.parent_path();
}

}  // namespace finch::controller
