#include "agent/system_files.hpp"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <system_error>
#include <utility>

namespace finch::agent {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kLongestFile = std::size_t{1} << 20U;

// Without waiting for a pipe's other end. -1: cannot be opened.
int open_to_read(const fs::path& path) {
  return open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
}

// The same, but links count from `root` and end there. Linux before 5.6 does not know how: then as the path says.
int open_below(const fs::path& root, std::string_view relative) {
  const int folder = open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return -1;
  open_how how{};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  how.resolve = RESOLVE_IN_ROOT;
  const auto opened = static_cast<int>(syscall(SYS_openat2, folder, std::string(relative).c_str(), &how, sizeof how));
  const bool unknown = opened < 0 && (errno == ENOSYS || errno == EPERM);
  close(folder);
  return unknown ? open_to_read(root / relative) : opened;
}

std::optional<std::string> read_plain_file(int descriptor) {
  struct stat facts{};
  if (fstat(descriptor, &facts) != 0 || !S_ISREG(facts.st_mode)) return std::nullopt;
  std::string text;
  std::array<char, 4096> buffer;
  while (text.size() < kLongestFile) {
    const ssize_t got = ::read(descriptor, buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::nullopt;
    if (got == 0) break;
    text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace

SystemFiles::SystemFiles(fs::path root) : root_(std::move(root)) {}

fs::path SystemFiles::locate(std::string_view absolute) const {
  if (root_.empty()) return absolute;
  const std::string_view relative = absolute.substr(1);
  const std::string_view top = relative.substr(0, relative.find('/'));
  std::error_code error;
  if (top != "sys" && !fs::exists(root_ / top, error)) return absolute;
  return root_ / relative;
}

bool SystemFiles::holds(std::string_view absolute) const {
  std::error_code error;
  return fs::exists(root_.empty() ? fs::path(absolute) : root_ / absolute.substr(1), error);
}

std::optional<std::string> SystemFiles::read(std::string_view absolute) const {
  const fs::path path = locate(absolute);
  const bool below = !root_.empty() && path == root_ / absolute.substr(1);
  const int descriptor = below ? open_below(root_, absolute.substr(1)) : open_to_read(path);
  if (descriptor < 0) return std::nullopt;
  auto text = read_plain_file(descriptor);
  close(descriptor);
  while (text && !text->empty() && static_cast<unsigned char>(text->back()) <= ' ') text->pop_back();
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

std::string leaf_name(std::string_view path) {
  return std::string(path.substr(path.rfind('/') + 1));
}

std::optional<std::int64_t> parse_number(std::string_view text, int base) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace finch::agent
