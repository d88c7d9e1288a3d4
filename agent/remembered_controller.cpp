#include "agent/remembered_controller.hpp"

#include <charconv>
#include <cstdlib>
#include <format>
#include <fstream>
#include <system_error>
#include <utility>

namespace finch::agent {
namespace fs = std::filesystem;
namespace {

constexpr const char* kFile = "controller";

}  // namespace

std::expected<std::pair<std::string, std::uint16_t>, Error> parse_endpoint(std::string_view text) {
  const auto wrong = [text] {
    return std::unexpected(Error{
        std::format("'{}' is no controller address; give HOST:PORT, such as 192.168.1.4:7447", text), false, true});
  };
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong();
  std::string_view host = text.substr(0, colon);
  const std::string_view digits = text.substr(colon + 1);
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), port);
  if (error != std::errc() || end != digits.data() + digits.size() || port == 0) return wrong();
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  } else if (host.contains(':')) {
    return wrong();
  }
  if (host.empty()) return wrong();
  return std::pair(std::string(host), port);
}

std::string format_endpoint(const std::string& host, std::uint16_t port) {
  return host.contains(':') ? std::format("[{}]:{}", host, port) : std::format("{}:{}", host, port);
}

std::expected<std::optional<RememberedController>, Error> recall_controller(const fs::path& state_folder) {
  const fs::path path = state_folder / kFile;
  std::error_code error;
  if (!fs::exists(path, error)) return std::nullopt;
  std::ifstream file(path);
  std::string endpoint;
  RememberedController controller;
  std::getline(file, endpoint);
  std::getline(file, controller.name);
  if (!file) return std::unexpected(Error{std::format("{} is damaged; delete it and join again", path.string())});
  std::getline(file, controller.profile);
  const auto parsed = parse_endpoint(endpoint);
  if (!parsed) return std::unexpected(Error{std::format("{} is damaged; delete it and join again", path.string())});
  std::tie(controller.host, controller.port) = *parsed;
  return controller;
}

std::expected<void, Error> remember_controller(const fs::path& state_folder, const RememberedController& controller) {
  std::error_code error;
  fs::create_directories(state_folder, error);
  const fs::path path = state_folder / kFile;
  const fs::path fresh = state_folder / (std::string(kFile) + ".new");
  {
    std::ofstream file(fresh);
    file << format_endpoint(controller.host, controller.port) << '\n'
         << controller.name << '\n'
         << controller.profile << '\n';
    file.close();
    if (!file) return std::unexpected(Error{std::format("cannot write {}", fresh.string())});
  }
  fs::rename(fresh, path, error);
  if (error) return std::unexpected(Error{std::format("cannot write {}: {}", path.string(), error.message())});
  return {};
}

fs::path default_state_folder() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state != nullptr && *state == '/') {
    return fs::path(state) / "finch-agent";
  }
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') {
    return fs::path(home) / ".local" / "state" / "finch-agent";
  }
  return "finch-agent-state";
}

}  // namespace finch::agent
