#include "agent/inference_runtime.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <format>
#include <fstream>
#include <optional>
#include <ranges>
#include <system_error>

#include "protocol/artifact_store.hpp"

namespace finch::agent {
namespace fs = std::filesystem;
namespace {

constexpr std::array<InferenceRuntime, 3> kRuntimes{{
    {"onnxruntime", "ONNX Runtime", "libonnxruntime.so", "onnx",
     "apt install libonnxruntime1.21, or scripts/install-runtime onnxruntime"},
    {"openvino", "OpenVINO", "libopenvino_c.so", "onnx", "scripts/install-runtime openvino"},
    {"litert", "LiteRT", "libLiteRt.so", "tflite", "scripts/install-runtime litert"},
}};

std::optional<fs::path> library_in(const fs::path& folder, std::string_view name) {
  std::error_code error;
  if (fs::is_regular_file(folder / name, error)) return folder / name;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().filename().string().starts_with(std::string(name) + ".")) found.push_back(entry.path());
  }
  if (found.empty()) return std::nullopt;
  return *std::ranges::max_element(found);
}

const char* environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : nullptr;
}

std::vector<fs::path> usual_folders(const InferenceRuntime& runtime) {
  std::vector<fs::path> folders;
  if (const char* listed = environment("LD_LIBRARY_PATH")) {
    for (const auto part : std::views::split(std::string_view(listed), ':')) {
      if (!part.empty()) folders.emplace_back(std::string_view(part));
    }
  }
  const auto installed = [&](const fs::path& runtimes) { folders.push_back(runtimes / runtime.name); };
  if (const char* home = environment("FINCH_HOME")) installed(fs::path(home) / "runtimes");
  if (const char* home = environment("HOME")) installed(fs::path(home) / ".local/state/finch/runtimes");
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  const fs::path beside = program.parent_path();
  if (!error) installed(beside.parent_path() / "lib/finch/runtimes");
  installed("/usr/local/lib/finch/runtimes");
  installed("/usr/lib/finch/runtimes");
  if (!error) folders.insert(folders.end(), {beside, beside.parent_path() / "lib", beside.parent_path() / "lib/finch"});
  folders.insert(folders.end(), {"/usr/local/lib", "/usr/lib/" FINCH_MULTIARCH, "/usr/lib", "/usr/lib64"});
  return folders;
}

}  // namespace

std::span<const InferenceRuntime> inference_runtimes() {
  return kRuntimes;
}

const InferenceRuntime* find_runtime(std::string_view name) {
  const auto* found = std::ranges::find(kRuntimes, name, &InferenceRuntime::name);
  return found == kRuntimes.end() ? nullptr : found;
}

std::string runtime_names() {
  std::string names;
  for (const InferenceRuntime& runtime : kRuntimes) names += (names.empty() ? "" : ", ") + std::string(runtime.name);
  return names;
}

std::expected<fs::path, Error> find_library(const InferenceRuntime& runtime, const std::string& asked) {
  return find_library(runtime, asked, usual_folders(runtime));
}

std::expected<fs::path, Error> find_library(const InferenceRuntime& runtime, const std::string& asked,
                                            const std::vector<fs::path>& folders) {
  std::error_code error;
  if (!asked.empty()) {
    if (fs::is_regular_file(asked, error)) return fs::path(asked);
    if (fs::is_directory(asked, error)) {
      if (auto library = library_in(asked, runtime.library)) return *library;
      return std::unexpected(
          Error{std::format("no {} in the folder {} given with --{}", runtime.library, asked, runtime.name)});
    }
    return std::unexpected(Error{std::format("--{} {}: no such file or folder", runtime.name, asked)});
  }
  std::string looked;
  for (const fs::path& folder : folders) {
    if (auto library = library_in(folder, runtime.library)) return *library;
    looked += (looked.empty() ? "" : ", ") + folder.string();
  }
  return std::unexpected(
      Error{std::format("{} not found (looked for {} in {}); install it ({}) or name its file with --{} PATH",
                        runtime.title, runtime.library, looked, runtime.install, runtime.name)});
}

RuntimeLibraries with_found_libraries(RuntimeLibraries asked) {
  for (const InferenceRuntime& runtime : kRuntimes) {
    const std::string name(runtime.name);
    if (!library_of(asked, name).empty()) continue;
    if (const auto found = find_library(runtime, "")) asked[name] = found->string();
  }
  return asked;
}

std::string library_of(const RuntimeLibraries& libraries, std::string_view runtime) {
  const auto found = libraries.find(runtime);
  return found == libraries.end() ? std::string() : found->second;
}

std::string version_beside(const fs::path& library) {
  constexpr std::size_t kDigits = 12;
  std::string version;
  std::ifstream file(library.parent_path() / "VERSION");
  if (file >> version) return version;
  const auto hash = protocol::sha256_of_file(library);
  return hash ? "sha256:" + hash->substr(0, kDigits) : "unknown";
}

}  // namespace finch::agent
