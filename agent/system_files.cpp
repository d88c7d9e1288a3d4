#include "agent/system_files.hpp"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

namespace finch::agent {
namespace fs = std::filesystem;

SystemFiles::SystemFiles(fs::path root) : root_(std::move(root)) {}

fs::path SystemFiles::locate(std::string_view absolute) const {
  if (root_.empty()) return absolute;
  const std::string_view relative = absolute.substr(1);
  const std::string_view top = relative.substr(0, relative.find('/'));
  std::error_code error;
  if (top != "sys" && !fs::exists(root_ / top, error)) return absolute;
  return root_ / relative;
}

std::optional<std::string> SystemFiles::read(std::string_view absolute) const {
  std::ifstream file(locate(absolute), std::ios::binary);
  if (!file) return std::nullopt;
  std::string text{std::istreambuf_iterator<char>(file), {}};
  if (file.bad()) return std::nullopt;
  while (!text.empty() && (text.back() == '\0' || static_cast<unsigned char>(text.back()) <= ' ')) text.pop_back();
  return text;
}

std::optional<std::int64_t> SystemFiles::read_number(std::string_view absolute, int base) const {
  const auto text = read(absolute);
  return text ? parse_number(*text, base) : std::nullopt;
}

std::vector<std::string> SystemFiles::list(std::string_view absolute, std::string_view prefix) const {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(locate(absolute), error), end; !error && entry != end; entry.increment(error)) {
    std::string name = entry->path().filename().string();
    if (name.starts_with(prefix)) names.push_back(std::move(name));
  }
  // thermal_zone10 after thermal_zone2: a longer number is a greater one.
  std::ranges::sort(names, [](const std::string& a, const std::string& b) {
    return std::pair(a.size(), std::string_view(a)) < std::pair(b.size(), std::string_view(b));
  });
  for (std::string& name : names) name = std::string(absolute) + "/" + name;
  return names;
}

std::optional<std::int64_t> parse_number(std::string_view text, int base) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace finch::agent
