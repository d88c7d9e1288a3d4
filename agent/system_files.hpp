// Reads the small text files of /proc, /sys and /etc, under a root that tests and emulated machines put before them.
// What is no plain file (a folder, a pipe, a device) is not read, and a link cannot lead out of the root.
// Immutable; thread safe.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace finch::agent {

class SystemFiles {
 public:
  // Empty: the machine itself. A root without proc/ or etc/ takes these from the machine.
  SystemFiles() = default;
  explicit SystemFiles(std::filesystem::path root);

  const std::filesystem::path& root() const { return root_; }
  // "/sys/class/thermal" -> where that lies under the root.
  std::filesystem::path locate(std::string_view absolute) const;
  // Whether the file lies below the root itself, and is not taken from the machine.
  bool holds(std::string_view absolute) const;
  // Without trailing white space and NULs; at most its first MiB. Nothing: not there, or not readable.
  std::optional<std::string> read(std::string_view absolute) const;
  std::optional<std::int64_t> read_number(std::string_view absolute, int base = 10) const;
  // The entries of a folder whose names begin with `prefix`, as absolute paths without the root, in order of their
  // names with numbers compared as numbers.
  std::vector<std::string> list(std::string_view absolute, std::string_view prefix = {}) const;

 private:
  std::filesystem::path root_;
};

// "/sys/class/thermal/thermal_zone0" -> "thermal_zone0".
std::string leaf_name(std::string_view path);

// The whole of `text` as a number; "0x" is no part of it.
std::optional<std::int64_t> parse_number(std::string_view text, int base = 10);

}  // namespace finch::agent
