// Which inference runtimes this machine has, for `finch-agent runtimes`. Free functions; thread safe.
#pragma once

#include <string>
#include <vector>

#include "agent/inference_runtime.hpp"
#include "agent/launch.hpp"

namespace finch::agent {

struct ListedRuntime {
  const InferenceRuntime* runtime = nullptr;
  std::string library{};  // empty: not found
  std::string version{};
  std::vector<std::string> providers{};
  std::string problem{};  // not empty: it cannot be used, and why
};

// Loads each in a process of its own.
std::vector<ListedRuntime> list_runtimes(const RuntimeLibraries& asked, const Launcher& launcher);

// {"runtimes": [{"name", "found", "library", "version", "providers", "formats", "problem", "install"}]}; what is not
// there is null.
std::string runtimes_json(const std::vector<ListedRuntime>& runtimes);
std::string runtimes_text(const std::vector<ListedRuntime>& runtimes);

}  // namespace finch::agent
