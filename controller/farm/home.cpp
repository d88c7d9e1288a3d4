#include "controller/farm/home.hpp"

#include <unistd.h>

#include <cstdlib>
#include <format>

namespace finch::controller {
namespace {

std::filesystem::path home_path() {
  const auto set = [](const char* name) -> const char* {
    const char* value = std::getenv(name);
    return value != nullptr && *value != '\0' ? value : nullptr;
  };
  if (const char* own = set("FINCH_HOME")) return own;
  if (const char* state = set("XDG_STATE_HOME")) return std::filesystem::path(state) / "finch";
  if (const char* user = set("HOME")) return std::filesystem::path(user) / ".local/state/finch";
  return {};
}

}  // namespace

std::expected<Home, Error> open_home() {
  const auto path = home_path();
  if (path.empty())
    return std::unexpected(Error{"neither FINCH_HOME nor HOME is set; set FINCH_HOME to a folder of yours"});
  std::error_code error;
  const Home home{std::filesystem::absolute(path)};
  const bool fresh = !std::filesystem::exists(home.root, error);
  for (const auto& folder : {home.root, home.authority(), home.artifacts(), home.workers(), home.logs()}) {
    std::filesystem::create_directories(folder, error);
    if (error || ::access(folder.c_str(), W_OK) != 0) {
      return std::unexpected(Error{std::format("{}: this folder cannot be written{}; set FINCH_HOME to another",
                                               folder.string(), error ? ": " + error.message() : "")});
    }
  }
  if (fresh) std::filesystem::permissions(home.root, std::filesystem::perms::owner_all, error);
  return home;
}

std::filesystem::path program_folder() {
  return std::filesystem::read_symlink("/proc/self/exe").parent_path();
}

}  // namespace finch::controller
