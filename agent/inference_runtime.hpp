// The inference runtimes that the agent can use, and where their libraries lie. Nothing here loads one. Free functions;
// thread safe.
#pragma once

#include <expected>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "agent/error.hpp"

namespace finch::agent {

struct InferenceRuntime {
  std::string_view name;     // as in deploy.runtime and behind "--": "onnxruntime"
  std::string_view title;    // for people
  std::string_view library;  // beginning of the file's name
  std::string_view format;   // of the models that it reads: "onnx", "tflite"
  std::string_view install;  // the command that puts it in place
};

std::span<const InferenceRuntime> inference_runtimes();
// Nothing: there is no runtime of that name.
const InferenceRuntime* find_runtime(std::string_view name);
// "onnxruntime, openvino, litert"
std::string runtime_names();

// The library's file: `asked` when it is a file, a file in it when it is a folder. When empty, the first one in
// LD_LIBRARY_PATH; in NAME/ below the folders where scripts/install-runtime puts it ($FINCH_HOME/runtimes,
// ~/.local/state/finch/runtimes, ../lib/finch/runtimes beside the program, /usr/local/lib/finch/runtimes and
// /usr/lib/finch/runtimes); beside the program, in its ../lib, and in the system's folders.
// Error: none found; says where it looked and how to get or to name one.
std::expected<std::filesystem::path, Error> find_library(const InferenceRuntime& runtime, const std::string& asked);
std::expected<std::filesystem::path, Error> find_library(const InferenceRuntime& runtime, const std::string& asked,
                                                         const std::vector<std::filesystem::path>& folders);

// Files or folders of libraries by the runtime's name. One that is not in it is searched for.
using RuntimeLibraries = std::map<std::string, std::string, std::less<>>;
// With the files of all that were found in the place of those that are not named.
RuntimeLibraries with_found_libraries(RuntimeLibraries asked);
// Empty: not named.
std::string library_of(const RuntimeLibraries& libraries, std::string_view runtime);

// For a library that does not tell its version: what scripts/install-runtime wrote beside it, else the beginning of its
// SHA-256 ("sha256:0123456789ab"). The folders of the package managers are not asked.
std::string version_beside(const std::filesystem::path& library);

}  // namespace finch::agent
