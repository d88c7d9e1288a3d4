#include "agent/landlock.hpp"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <format>

#include "agent/child_process.hpp"

// Linux, Documentation/userspace-api/landlock.rst.
namespace finch::agent {
namespace {

// Not in the headers of Linux 6.1.
constexpr std::uint64_t kTruncate = 1U << 14U;

constexpr std::uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_EXECUTE;
constexpr std::uint64_t kList = LANDLOCK_ACCESS_FS_READ_DIR;
constexpr std::uint64_t kWrite = LANDLOCK_ACCESS_FS_WRITE_FILE | kTruncate;
constexpr std::uint64_t kMake = LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |
                                LANDLOCK_ACCESS_FS_MAKE_SYM | LANDLOCK_ACCESS_FS_REMOVE_FILE |
                                LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REFER;
constexpr std::uint64_t kNever = LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK |
                                 LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO;

// All that this version knows of; a right that is not asked to be handled is not taken away.
std::uint64_t known_to(int version) {
  constexpr int kRefers = 2, kTruncates = 3;
  std::uint64_t known = kRead | kList | kWrite | kMake | kNever;
  if (version < kRefers) known &= ~std::uint64_t{LANDLOCK_ACCESS_FS_REFER};
  if (version < kTruncates) known &= ~kTruncate;
  return known;
}

// 0: done, or there is no such path; else errno.
int allow(int ruleset, const std::filesystem::path& path, std::uint64_t rights, std::uint64_t in_folders) {
  const Descriptor beneath(open(path.c_str(), O_PATH | O_CLOEXEC));
  struct stat status{};
  if (beneath.get() < 0 || fstat(beneath.get(), &status) != 0) return 0;
  landlock_path_beneath_attr rule{};
  rule.allowed_access = S_ISDIR(status.st_mode) ? rights | in_folders : rights;
  rule.parent_fd = beneath.get();
  const long added = syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
  return added == 0 ? 0 : errno;
}

}  // namespace

int landlock_version() {
  const long version = syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return version > 0 ? static_cast<int>(version) : 0;
}

std::expected<void, Error> keep_only(const FileRights& rights) {
  const int version = landlock_version();
  if (version == 0) return {};
  const auto failed = [](const char* what, int error) {
    return std::unexpected(Error{
        std::format("cannot limit which files the measuring process may use ({}): {}", what, std::strerror(error))});
  };
  const std::uint64_t known = known_to(version);
  landlock_ruleset_attr attributes{};
  attributes.handled_access_fs = known;
  const Descriptor ruleset(static_cast<int>(syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0)));
  if (ruleset.get() < 0) return failed("rules", errno);
  const auto allow_all = [&](const std::vector<std::filesystem::path>& paths, std::uint64_t wanted,
                             std::uint64_t in_folders) {
    for (const std::filesystem::path& path : paths) {
      if (const int error = allow(ruleset.get(), path, wanted & known, in_folders & known); error != 0) return error;
    }
    return 0;
  };
  if (const int error = allow_all(rights.read, kRead, kList); error != 0) return failed("reading", error);
  if (const int error = allow_all(rights.write, kRead | kWrite, kList | kMake); error != 0)
    return failed("writing", error);
  if (const int error = allow_all(rights.devices, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE, kList);
      error != 0) {
    return failed("devices", error);
  }
  if (syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) return failed("keeping them", errno);
  return {};
}

}  // namespace finch::agent
