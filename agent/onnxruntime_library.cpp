#include <algorithm>
#include <cstdlib>
#include <format>
#include <ranges>
#include <system_error>

#include "agent/onnxruntime_backend.hpp"

namespace finch::agent {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kName = "libonnxruntime.so";

std::optional<fs::path> library_in(const fs::path& folder) {
  std::error_code error;
  if (fs::is_regular_file(folder / kName, error)) return folder / kName;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().filename().string().starts_with(std::string(kName) + ".")) found.push_back(entry.path());
  }
  if (found.empty()) return std::nullopt;
  return *std::ranges::max_element(found);
}

std::vector<fs::path> usual_folders() {
  std::vector<fs::path> folders;
  if (const char* listed = std::getenv("LD_LIBRARY_PATH")) {
    for (const auto part : std::views::split(std::string_view(listed), ':')) {
      if (!part.empty()) folders.emplace_back(std::string_view(part));
    }
  }
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  if (!error) {
    folders.push_back(program.parent_path());
    folders.push_back(program.parent_path().parent_path() / "lib");
    folders.push_back(program.parent_path().parent_path() / "lib" / "finch");
  }
  folders.insert(folders.end(), {"/usr/local/lib", "/usr/lib/" FINCH_MULTIARCH, "/usr/lib", "/usr/lib64"});
  return folders;
}

}  // namespace

std::expected<fs::path, Error> find_onnxruntime(const std::string& asked) {
  return find_onnxruntime(asked, usual_folders());
}

std::expected<fs::path, Error> find_onnxruntime(const std::string& asked, const std::vector<fs::path>& folders) {
  std::error_code error;
  if (!asked.empty()) {
    if (fs::is_regular_file(asked, error)) return fs::path(asked);
    if (fs::is_directory(asked, error)) {
      if (auto library = library_in(asked)) return *library;
      return std::unexpected(Error{std::format("no {} in the folder {} given with --onnxruntime", kName, asked)});
    }
    return std::unexpected(Error{std::format("--onnxruntime {}: no such file or folder", asked)});
  }
  std::string looked;
  for (const fs::path& folder : folders) {
    if (auto library = library_in(folder)) return *library;
    looked += (looked.empty() ? "" : ", ") + folder.string();
  }
  return std::unexpected(
      Error{std::format("ONNX Runtime not found (looked for {} in {}); install it (Debian: apt install "
                        "libonnxruntime-dev) or name its file with --onnxruntime PATH",
                        kName, looked)});
}

std::optional<std::string> refuse_library(const fs::path& library, std::string_view machine, unsigned long hwcap) {
  constexpr unsigned long kHalfPrecisionArithmetic = 1UL << 10U;  // HWCAP_ASIMDHP
  if (machine != "aarch64" || (hwcap & kHalfPrecisionArithmetic) != 0) return std::nullopt;
  // Only the distribution's builds are known to be at fault; the official ones ask the processor.
  std::error_code error;
  const fs::path file = fs::weakly_canonical(library, error);
  const std::string name = file.filename().string();
  if (!file.string().starts_with("/usr/lib/aarch64-linux-gnu/") || !name.starts_with(std::string(kName) + ".1.")) {
    return std::nullopt;
  }
  const int minor = std::atoi(name.c_str() + kName.size() + 3);
  if (minor >= 22) return std::nullopt;
  return std::format(
      "{} crashes on this processor: it uses FP16 arithmetic that the cores lack (a Raspberry Pi 4, for one); give "
      "another build with --onnxruntime PATH, such as the arm64 library of the npm package onnxruntime-node",
      file.string());
}

}  // namespace finch::agent
